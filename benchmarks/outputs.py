"""Makes the pictures of docs/outputs.md: one still of each output.

    python benchmarks/outputs.py ../shared/videos/intel_one-by-one-person-detection.mp4 \\
        --box 386,5,150,385 --start 420 --end 442 --out docs

The clip is "one-by-one-person-detection" of Intel's sample videos (github.com/intel-iot-devkit/sample-videos, CC BY
4.0). Without a clip and a box, a generated clip is taken.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import cv2
import numpy as np

from singletrack.cli.main import main as singletrack
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.drawing import draw_grid
from singletrack.video import VideoWriter, open_video

WIDTH, QUALITY = 480, 80  # of the pictures
VIDEOS = {  # name -> options
    "boxes": [],
    "crop": ["--aspect", "9:16"],
    "blur": ["--blur"],
    "pixelate": ["--pixelate"],
    "fill": ["--fill"],
    "trail": ["--trail"],
    "heatmap": ["--heatmap", "--no-boxes"],
    "spotlight": ["--spotlight"],
}


@click.command()
@click.argument("clip", required=False, type=click.Path(path_type=Path))
@click.option("--box", help="X,Y,W,H of the target in the first frame.")
@click.option("--start", default=0, show_default=True, help="Index of the first frame.")
@click.option("--end", default=60, show_default=True, help="Index of the last frame, which is shown.")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), help="Folder of the pictures.")
def main(clip: Path | None, box: str | None, start: int, end: int, out: Path) -> None:
    """Write one still of each output."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if clip is None or box is None:
            clip, box = generate(folder / "clip.mp4")
        source = ["track", str(clip), "--box", box, "--start", str(start), "--end", str(end)]
        for output, options in VIDEOS.items():
            made = folder / f"{output}.mp4"
            where = ["--crop" if output == "crop" else "--out", str(made)]
            run([*source, *options, *where])
            with open_video(made) as video:
                *_, last = video
            write(out / f"outputs-{output}.jpg", last)
        run([*source, "--save-boxes", str(folder / "boxes.csv")])
        run(["plot", str(folder / "boxes.csv"), "--out", str(folder / "plot.png")])
        plot = cv2.imread(str(folder / "plot.png"))
        assert plot is not None
        write(out / "outputs-plot.jpg", np.asarray(plot[..., ::-1], np.uint8), width=2 * WIDTH)
        with open_video(clip) as video:
            video.skip(start)
            write(out / "outputs-grid.jpg", draw_grid(next(iter(video))), width=2 * WIDTH)


def generate(path: Path) -> tuple[Path, str]:
    """Write a generated clip; gives its name and the first box."""
    frames = list(generate_clip(frames=90))
    with VideoWriter(path, 30.0) as video:
        for frame, _ in frames:
            video.write(frame)
    return path, ",".join(f"{value:.0f}" for value in frames[0][1])


def run(arguments: list[str]) -> None:
    """Run a command of singletrack."""
    if code := singletrack(arguments):
        raise SystemExit(code)


def write(path: Path, picture: np.ndarray, width: int = WIDTH) -> None:
    """Write a still as JPEG."""
    high, wide = picture.shape[:2]
    scale = min(1.0, width / wide, width * 0.75 / high)
    small = cv2.resize(picture, (round(wide * scale), round(high * scale)), interpolation=cv2.INTER_AREA)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    click.echo(f"wrote {path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
