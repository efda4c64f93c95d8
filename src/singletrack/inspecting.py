"""Shows what a network sees while it tracks, in pictures and arrays: attention, eliminated tokens, activations, maps.

Figures 4, 5 and 6 of OSTrack's paper (arXiv 2203.11991) are such pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singletrack import loading
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.files import new_folder, writing
from singletrack.geometry.boxes import Box
from singletrack.loading import LoadOptions
from singletrack.opencv import cv2
from singletrack.tracking.base import Result
from singletrack.video import VideoReader
from singletrack.video.writer import VideoWriter

if TYPE_CHECKING:
    from singletrack.models.inspection import Inspection

Image = NDArray[np.uint8]

TILE = 176  # pixels of each picture in a sheet
CAPTION = 16  # pixels above it
HEAT = 0.55  # share of the colors in a picture with a heat map
DROPPED = 0.25  # brightness that an eliminated token keeps; the rest is white


@dataclass(frozen=True, kw_only=True)
class InspectedFrame:
    """One frame of a video as a network sees it.

    Attributes:
        index: number of the frame, from 0.
        model: label of the model.
        search: (S, S, 3) uint8 RGB, the search region.
        result: what the tracker answered.
        inspection: what the network computed.
    """

    index: int
    model: str
    search: Image
    result: Result
    inspection: Inspection


class WatchedNetwork:
    """Passes every call on to a network, and keeps its last inputs."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.template: Any = None
        self.search: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def encode(self, template: Any) -> Any:
        self.template = template
        return self.network.encode(template)

    def locate(self, features: Any, search: Any) -> Any:
        self.search = search
        return self.network.locate(features, search)


def inspect_video(
    video: VideoReader,
    box: Box,
    models: Mapping[str, tuple[str, LoadOptions]],
    *,
    start: int = 0,
    end: int | None = None,
    every: int = 10,
    token: tuple[int, int] | None = None,
) -> Iterator[list[InspectedFrame]]:
    """Track a target with one or more models, each by itself, and inspect some of the frames.

    Args:
        video: the source.
        box: x, y, width, height in pixels of the frame ``start``.
        models: label -> name of the model, and its load options; they run in PyTorch and search around the last box.
        start: index of the frame with the box.
        end: index of the last frame; None for the end of the source.
        every: inspect each ``every``-th frame after it.
        token: see ``models.inspection.inspect_pair``.

    Yields:
        One entry per model for each inspected frame, in the order of ``models``.

    Raises:
        InputError: for a model without attention, a token outside of the template, or a source without such a frame.
    """
    require_packages("inspecting a network", *TRAIN_EXTRA)
    from singletrack.models.inspection import inspect_pair

    trackers = {}
    for label, (name, options) in models.items():
        tracker: Any = loading.load_with(name, replace(options, engine="torch", long_term=False))
        tracker.network = WatchedNetwork(tracker.network)
        trackers[label] = tracker
    index = video.skip(start)
    for frame in video:
        if end is not None and index > end:
            return
        if index == start:
            for tracker in trackers.values():
                tracker.init(frame, box)
        else:
            results = {label: tracker.update(frame) for label, tracker in trackers.items()}
            if (index - start) % every == 0:
                yield [
                    InspectedFrame(
                        index=index,
                        model=label,
                        search=np.ascontiguousarray(tracker.network.search[0][..., :3]),
                        result=results[label],
                        inspection=inspect_pair(
                            tracker.network.network.module,
                            tracker.network.network.see,
                            tracker.network.template[:1],
                            tracker.network.search[:1],
                            token,
                        ),
                    )
                    for label, tracker in trackers.items()
                    if tracker.network.search is not None
                ]
        index += 1


# --- pictures ---------------------------------------------------------------------------------------------------


def heat(image: Image, values: NDArray[Any]) -> Image:
    """Lay a heat map (h, w), scaled to its own smallest and largest value, over an image (H, W, 3). NaN is coldest."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    scaled = (np.nan_to_num(values) - low) / max(high - low, 1e-12)
    levels = np.clip(np.rint(255 * scaled), 0, 255).astype(np.uint8)
    side = (image.shape[1], image.shape[0])
    colors = cv2.applyColorMap(cv2.resize(levels, side, interpolation=cv2.INTER_NEAREST), cv2.COLORMAP_JET)
    mixed = (1 - HEAT) * image + HEAT * np.asarray(colors)[:, :, ::-1]
    return np.rint(mixed).astype(np.uint8)


def without_dropped(image: Image, eliminated: NDArray[np.int64], stage: int) -> Image:
    """Whiten the tokens that were eliminated up to a stage, from 1; ``eliminated`` (h, w) is 0 for those kept."""
    dropped = ((eliminated > 0) & (eliminated <= stage)).astype(np.uint8)
    side = (image.shape[1], image.shape[0])
    mask = np.asarray(cv2.resize(dropped, side, interpolation=cv2.INTER_NEAREST))[:, :, None] > 0
    return np.where(mask, (DROPPED * image + (1 - DROPPED) * 255).astype(np.uint8), image)


def sheet(frame: InspectedFrame) -> Image:
    """Draw everything about one frame: a row each for attention, elimination, activations and maps, (H, W, 3) RGB."""
    found, search = frame.inspection, frame.search
    rows = [[tile(search, f"{frame.model}, frame {frame.index}, score {frame.result.score:.2f}")]]
    if found.eliminated is not None:
        stages = range(1, int(found.eliminated.max(initial=0)) + 1)
        rows[0] += [
            tile(without_dropped(search, found.eliminated, stage), f"after elimination {stage}") for stage in stages
        ]
    lengths = {name: without_zeros(values) for name, values in found.activation.items()}
    for what, values in (("attention", found.attention), ("", found.decoder), ("activation", lengths)):
        if values:
            rows.append([tile(heat(search, each), f"{what} {name}".strip()) for name, each in values.items()])
    maps = []
    for name, grid in found.maps.items():
        channels = ("",) if grid.ndim == 2 else (", first", ", second")
        maps += [
            tile(heat(search, channel), f"{name}{which}")
            for channel, which in zip(grid.reshape(-1, *grid.shape[-2:]), channels, strict=False)
        ]
    return stack([*rows, maps])


def side_by_side(frames: Sequence[InspectedFrame]) -> Image:
    """Draw the activations of several models, a row each: Figure 6 of the paper."""
    return stack(
        [
            [tile(frame.search, f"{frame.model}, frame {frame.index}")]
            + [
                tile(heat(frame.search, without_zeros(values)), name)
                for name, values in frame.inspection.activation.items()
            ]
            for frame in frames
        ]
    )


def without_zeros(values: NDArray[Any]) -> NDArray[Any]:
    """Replace zeros, the lengths of eliminated tokens, by NaN, so that they do not set the scale of the others."""
    return np.where(values == 0, np.nan, values)


def tile(image: Image, caption: str) -> Image:
    """Return a picture of ``TILE`` pixels with a caption above it."""
    out = np.full((TILE + CAPTION, TILE, 3), 255, np.uint8)
    out[CAPTION:] = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA)
    cv2.putText(out, caption, (2, CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (0, 0, 0), 1, cv2.LINE_AA)
    return out


def stack(rows: Sequence[Sequence[Image]]) -> Image:
    """Lay rows of tiles below each other; shorter rows are filled with white."""
    longest = max(map(len, rows))
    white = np.full((TILE + CAPTION, TILE, 3), 255, np.uint8)
    lines = [np.hstack([*row, *[white] * (longest - len(row))]) for row in rows if row]
    return np.ascontiguousarray(np.vstack(lines))


class InspectionFolder:
    """Context manager that writes inspected frames to a folder: pictures, arrays, and a video of the pictures.

    MODEL-000010.png has everything about a frame, MODEL-000010.npz the arrays, MODEL.mp4 all pictures. With several
    models, activation-000010.png shows their activations side by side.

    Raises:
        SingletrackError: the folder cannot be written.
    """

    def __init__(self, folder: Path, fps: float = 5.0) -> None:
        self.folder, self.fps = folder, fps
        self.writers: dict[str, VideoWriter] = {}
        self.files: list[Path] = []
        self._made = new_folder(folder)

    def __enter__(self) -> InspectionFolder:
        self._made.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self.writers.values():
            writer.close()
        self._made.__exit__(kind, error, trace)

    def write(self, frames: Sequence[InspectedFrame]) -> None:
        """Write one inspected frame of every model."""
        for frame in frames:
            picture = sheet(frame)
            self._picture(f"{frame.model}-{frame.index:06d}.png", picture)
            path = self.folder / f"{frame.model}-{frame.index:06d}.npz"
            box = np.array(frame.result.box)
            with writing(path):
                np.savez_compressed(path, box=box, search=frame.search, **frame.inspection.arrays())  # type: ignore[arg-type]
            self.files.append(path)
            if frame.model not in self.writers:
                self.writers[frame.model] = VideoWriter(self.folder / f"{frame.model}.mp4", self.fps)
                self.files.append(self.folder / f"{frame.model}.mp4")
            self.writers[frame.model].write(picture)
        if len(frames) > 1:
            self._picture(f"activation-{frames[0].index:06d}.png", side_by_side(frames))

    def _picture(self, name: str, picture: Image) -> None:
        path = self.folder / name
        done, content = cv2.imencode(".png", picture[:, :, ::-1])
        assert done
        with writing(path):
            path.write_bytes(content.tobytes())
        self.files.append(path)
