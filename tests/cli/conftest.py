from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack import loading
from singletrack.loading import LoadOptions
from singletrack.tracking.base import Result
from singletrack.video import VideoWriter


class NoNetwork:
    """What a tracker that asks for nothing needs of a network."""

    def encode(self, template: Any) -> Any:
        raise AssertionError("nobody asks for this")

    locate = encode


class Still:
    """A tracker that leaves its box where it was; many of them go together."""

    network: Any = NoNetwork()

    def init(self, frame: NDArray[np.uint8], box: Any) -> None:
        self.box = box

    def update(self, frame: NDArray[np.uint8]) -> Result:
        return Result(box=self.box, score=0.5, lost=False)

    def preprocess(self, frame: NDArray[np.uint8]) -> None:
        return None

    def postprocess(self, maps: Any) -> Result:
        return Result(box=self.box, score=0.5, lost=False)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, LoadOptions]]:
    """Puts ``Still`` in the place of every model; lists the names and options."""
    asked = []

    def load(name: str, options: LoadOptions) -> Still:
        asked.append((name, options))
        return Still()

    monkeypatch.setattr(loading, "load_with", load)
    return asked


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[[int], Path]:
    """Writes a clip of so many frames, 64 x 48 pixels, noise that does not compress."""

    def make(count: int) -> Path:
        random = np.random.default_rng(0)
        with VideoWriter(tmp_path / "clip.mp4", fps=10) as writer:
            for _ in range(count):
                writer.write(random.integers(0, 255, (48, 64, 3), np.uint8))
        return tmp_path / "clip.mp4"

    return make
