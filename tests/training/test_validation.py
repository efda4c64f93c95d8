"""Validation on what was never learned from: every sample, every frame that has a box, and pictures of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.toys import ALONE, NOTHING, changed, toy
from torch import Tensor, nn

from singletrack.datasets.base import VideoSequence
from singletrack.datasets.photos import Procedural
from singletrack.geometry.crops import normalize as normalize_crop
from singletrack.tracking.base import Result
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.training.base import Batch, Stage, normalize
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.distributed import Distributed
from singletrack.training.tasks.ostrack import OSTrackTask
from singletrack.training.validation import followed, sample_overlap, tracking_overlap
from singletrack.training.visualize import DARK, lit, picture

STAGE = toy().stages[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knowing(OSTrackTask):
    """Says the true boxes, shrunk to a share of their width; remembers what it saw."""

    share: float = 1.0
    seen: list[Tensor] = dataclasses.field(default_factory=list)

    def boxes(self, model: Any, batch: Batch) -> Tensor:
        self.seen.append(batch["box"])
        x, y, width, height = batch["box"].unbind(1)
        return torch.stack([x, y, x + self.share * width, y + height], 1).clamp(0, 1)


def knowing(**changes: object) -> Stage:
    fields = {field.name: getattr(STAGE.task, field.name) for field in dataclasses.fields(STAGE.task)}
    return changed(STAGE, task=Knowing(**fields, **changes))


def seen_by(stage: Stage) -> list[Tensor]:
    assert isinstance(stage.task, Knowing)
    return stage.task.seen


def test_samples_without_their_target_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, held_out = changed(knowing(share=0.5), check_samples=8), SyntheticPairs.held_out

    def every_second(*arguments: Any) -> list[Batch]:
        samples = held_out(*arguments)
        wrong = torch.tensor([9.0, 9.0, 1.0, 1.0])  # far off, for a target that is not there
        return [
            {**samples[index], "present": torch.tensor(index % 2 == 0)} | ({} if index % 2 == 0 else {"box": wrong})
            for index in range(8)
        ]

    monkeypatch.setattr(SyntheticPairs, "held_out", every_second)
    assert sample_overlap(nn.Identity(), stage, NOTHING, 7, ALONE) > 0.45


@pytest.mark.parametrize("count", [1, 33])
def test_every_held_out_sample_is_validated(count: int) -> None:
    stage = changed(knowing(), check_samples=count)
    assert sample_overlap(nn.Identity(), stage, NOTHING, 7, ALONE) == pytest.approx(1.0)
    assert [len(boxes) for boxes in seen_by(stage)] == [min(count, 32), count - 32][: 1 + (count > 32)]
    assert len(torch.cat(seen_by(stage)).unique(dim=0)) == count
    half = changed(knowing(share=0.5), check_samples=count)
    assert 0.45 < sample_overlap(nn.Identity(), half, NOTHING, 7, ALONE) < 0.75  # of clamped boxes more than half


def test_processes_share_the_samples() -> None:
    stage = changed(knowing(), check_samples=70)
    for rank in (0, 1):
        sample_overlap(nn.Identity(), stage, NOTHING, 7, Alone(rank, 2))
    assert sorted(len(boxes) for boxes in seen_by(stage)) == [6, 32, 32]
    assert len(torch.cat(seen_by(stage)).unique(dim=0)) == 70


class Alone(Distributed):
    """One of several processes whose others say nothing."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__(rank, world, torch.device("cpu"))

    def all_reduce(self, values: Tensor) -> Tensor:
        return values


class Stays:
    """A tracker that never moves."""

    def init(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> None:
        self.box = box

    def update(self, frame: np.ndarray) -> Result:
        return Result(box=self.box, score=1.0, lost=False)


def sequence(boxes: list[list[float]], visible: list[bool] | None = None) -> VideoSequence:
    frames = [np.zeros((20, 20, 3), np.uint8)] * len(boxes)
    return VideoSequence(
        name="s", frames=frames, boxes_xywh=np.array(boxes), visible=None if visible is None else np.array(visible)
    )


def test_frames_without_a_box_do_not_count() -> None:
    start, half, gone, none = [2, 2, 4, 4], [2, 2, 4, 2], [np.nan] * 4, [0, 0, 0, 0]
    assert followed(Stays(), sequence([start, half, gone, none, start])) == pytest.approx(0.75)
    assert followed(Stays(), sequence([start, half, start], [True, True, False])) == pytest.approx(0.5)
    assert followed(Stays(), sequence([start, gone])) is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Two(SyntheticPairs):
    """Follows two sequences, and one that says nothing."""

    def sequences(self, data: object) -> list[VideoSequence]:  # type: ignore[override]
        start = [2, 2, 4, 4]
        return [sequence([start, start]), sequence([start, [2, 2, 4, 2]]), sequence([start, [np.nan] * 4])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Staying(OSTrackTask):
    """Is followed with a tracker that never moves."""

    def tracker(self, model: Any, stage: Stage) -> Stays:  # type: ignore[override]
        return Stays()


def test_average_overlap_is_the_mean_over_sequences() -> None:
    fields = {field.name: getattr(STAGE.task, field.name) for field in dataclasses.fields(STAGE.task)}
    stage = changed(STAGE, task=Staying(**fields), source=Two())
    model = nn.Identity()
    assert tracking_overlap(model, stage, NOTHING, ALONE) == pytest.approx(0.75)
    assert tracking_overlap(model, stage, NOTHING, Alone(1, 2)) == pytest.approx(0.5)
    assert tracking_overlap(model, STAGE, NOTHING, ALONE) is None  # the toy has no clips


def test_a_network_is_followed_through_made_clips() -> None:
    source = SyntheticPairs(picture_size=96, clips=2, clip_frames=3, clip_size_wh=(96, 64))
    stage = changed(STAGE, source=source)
    torch.manual_seed(0)
    model = stage.task.build(stage)
    first, second = (tracking_overlap(model, stage, NOTHING, ALONE) for _ in range(2))
    assert first is not None
    assert first == second
    assert 0 <= first <= 1
    clips = source.sequences(NOTHING)
    assert [clip.name for clip in clips] == ["clip-00", "clip-01"]
    assert [clip.name for clip in clips[1:]] == ["clip-01"]
    np.testing.assert_array_equal(clips[1].frames[2], clips[1].frames[2])
    with pytest.raises(IndexError):
        clips[2]


def test_training_normalizes_as_tracking_does() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    settings = OSTrackSettings()
    seen = normalize(torch.from_numpy(crop).permute(2, 0, 1)[None])
    np.testing.assert_allclose(seen, normalize_crop(crop, settings.mean, settings.std), atol=1e-6)


# --- pictures ---


def test_a_picture_shows_pairs_boxes_and_maps_as_light() -> None:
    stage = changed(knowing(), task={"keep_ratio": 0.5})
    torch.manual_seed(0)
    model = stage.task.build(stage).eval()
    batch = {
        "template": torch.full((2, 3, 32, 32), 10, dtype=torch.uint8),
        "search": torch.full((2, 3, 64, 64), 200, dtype=torch.uint8),
        "box": torch.tensor([[0.25, 0.25, 0.5, 0.5]] * 2),
        "present": torch.tensor([True, False]),
    }
    looks = stage.task.looks(model, batch)
    assert list(looks) == ["score", "attention", "kept"]
    for name, maps in looks.items():
        assert maps.shape == ((2, 8, 8) if name == "score" else (2, 4, 4))
        assert 0 <= maps.min() <= maps.max() <= 1
    # 16 tokens, half of them and half of those kept
    assert sorted(looks["kept"][0].flatten().tolist()) == [0.0] * 8 + [0.5] * 4 + [1.0] * 4
    image = picture(model, stage, batch)
    assert image.shape == (2 * 64, 5 * 64, 3)
    assert (image[:32, :32] == 10).all()
    assert (image[32:64, :64] == 0).all()
    assert image[16, 64 + 40].tolist() == [255, 0, 0]  # what is said lies on what is true
    assert image[30, 64 + 30].tolist() == [200, 200, 200]


def test_a_map_lights_a_crop() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    shown = lit(image, torch.tensor([[0.0, 1.0], [0.5, 1.0]]))
    assert shown[0, 0].tolist() == pytest.approx([200 * DARK] * 3, abs=1)
    assert shown[0, 3].tolist() == [200] * 3
    assert shown[3, 0].tolist() == pytest.approx([200 * (DARK + 1) / 2] * 3, abs=1)


def test_made_pictures_are_those_of_the_source() -> None:
    held = SyntheticPairs(picture_size=80).pictures(NOTHING)[1]
    assert isinstance(held, Procedural)
    assert held.size == 80
