"""`inspect`: a folder of pictures, arrays and a video of what the bundled network sees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singletrack.cli.main import main
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.inspecting import TILE, heat, without_dropped
from singletrack.video import VideoWriter, open_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = list(generate_clip(frames=5))
    with VideoWriter(path, 30) as writer:
        for frame, _ in frames:
            writer.write(frame)
    return path, ",".join(f"{value:.0f}" for value in frames[0][1])


def test_a_folder_with_everything(clip: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, box = clip
    out = tmp_path / "seen"
    arguments = ["inspect", str(path), "--box", box, "--every", "2", "--out", str(out)]
    assert main([*arguments, "--model", "ostrack-tiny", "--beside", "ostrack-tiny"]) == 0
    assert "12 files" in capsys.readouterr().out
    assert sorted(file.name for file in out.iterdir()) == [
        "activation-000002.png", "activation-000004.png",
        "ostrack-tiny-000002.npz", "ostrack-tiny-000002.png", "ostrack-tiny-000004.npz", "ostrack-tiny-000004.png",
        "ostrack-tiny-2-000002.npz", "ostrack-tiny-2-000002.png",
        "ostrack-tiny-2-000004.npz", "ostrack-tiny-2-000004.png",
        "ostrack-tiny-2.mp4", "ostrack-tiny.mp4",
    ]  # fmt: skip
    arrays = np.load(out / "ostrack-tiny-000002.npz")
    assert arrays["attention/block 0"].shape == (14, 14)
    assert arrays["maps/score"].shape == (28, 28)
    assert set(np.unique(arrays["eliminated"])) == {0, 1, 2, 3}
    assert arrays["search"].shape == (224, 224, 3)
    picture = cv2.imread(str(out / "ostrack-tiny-000002.png"))
    assert picture.shape[1] == 8 * TILE  # eight blocks
    with open_video(out / "ostrack-tiny.mp4") as video:
        assert len(list(video)) == 2
    assert main(arguments) == 2
    assert f"{out} must be a new or empty folder" in capsys.readouterr().err
    assert main([*arguments, "--end", "2", "--overwrite"]) == 0
    with open_video(out / "ostrack-tiny.mp4") as video:
        assert len(list(video)) == 1


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--token", "7"], 2, "expected ROW,COLUMN, such as 3,4; got '7'"),
        (["--token", "7,0"], 2, "a row and a column from 0 to 6; got 7,0"),
        (["--beside", "toy"], 2, "unknown model 'toy'"),
        (["--every", "100"], 2, "ends before frame 100; give a smaller --every"),
    ],
)
def test_what_cannot_be_shown(
    flags: list[str], code: int, message: str, clip: tuple[Path, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, box = clip
    flags = [*flags, *([] if "--every" in flags else ["--every", "1"])]
    assert main(["inspect", str(path), "--box", box, "--out", str(tmp_path / "out"), *flags]) == code
    assert message in capsys.readouterr().err


def test_pictures() -> None:
    gray = np.full((32, 32, 3), 100, np.uint8)
    warm = heat(gray, np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert warm[0, 31, 0] > warm[0, 31, 2]  # red where it is high, blue where it is low
    assert warm[31, 0, 2] > warm[31, 0, 0]
    thinned = without_dropped(gray, np.array([[0, 1], [2, 0]]), 1)
    assert (thinned[:16, 16:] > 200).all()
    assert (thinned[16:, :16] == 100).all()
