from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singletrack.cli.main import main
from singletrack.errors import InputError
from singletrack.results import Record
from singletrack.trajectories import trajectories_of

pytest.importorskip("matplotlib", reason="needs the plots: pip install 'singletrack[report]'")


def records(lost: tuple[int, ...] = ()) -> list[Record]:
    """A box of 10 x 40 that moves by 3 to the right and 4 down each tenth of a second."""
    return [Record(frame=n, box=(3.0 * n, 4.0 * n, 10, 40), time=n / 10, score=0.5, lost=n in lost) for n in range(11)]


def test_numbers() -> None:
    (each,) = trajectories_of(records()).values()
    assert each.path_length == pytest.approx(50)
    assert each.seconds_seen == pytest.approx(1)
    assert each.lost_spans == []
    assert each.sizes == pytest.approx([20] * 11)
    assert each.speeds[1:] == pytest.approx([50] * 10)
    assert each.centers[2].tolist() == [11, 28]


def test_lost_spans_count_neither_as_way_nor_as_seen() -> None:
    (each,) = trajectories_of(records(lost=(4, 5, 9))).values()
    assert each.lost_spans == [(0.4, 0.5), (0.9, 0.9)]
    assert each.path_length == pytest.approx(50 - 5 * 5)
    assert each.seconds_seen == pytest.approx(0.7)
    assert np.isnan(each.speeds[4:6]).all()


def test_scale_and_fps() -> None:
    (each,) = trajectories_of(records(), fps=5, scale=0.01).values()
    assert each.path_length == pytest.approx(0.5)
    assert each.times[-1] == 2.0


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"scale": -1}])
def test_values_that_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        trajectories_of(records(), **wrong)


def test_files_without_times_need_a_rate() -> None:
    bare = [Record(frame=0, box=(1, 2, 3, 4))]
    with pytest.raises(InputError, match="--fps"):
        trajectories_of(bare)
    assert trajectories_of(bare, fps=30)[1].path_length == 0
    with pytest.raises(InputError, match="has none"):
        trajectories_of([])


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{n},{n / 10},{id},{3 * n + 50 * id},{4 * n},10,40,0.5,{int(n == 4)}" for n in range(11) for id in (1, 2)]
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(["frame,time,id,x,y,width,height,score,lost", *lines]) + "\n")
    assert main(["plot", str(path)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in table[1:3]] == [["1", "11", "40.0"], ["2", "11", "40.0"]]
    picture = cv2.imread(str(tmp_path / "boxes.png"))
    assert picture.shape[0] > 500
    assert picture.std() > 10
    assert main(["plot", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["plot", str(path), "--out", str(tmp_path / "a.gif")]) == 2
