from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.outputs import Segment, numbered
from singletrack.video import VideoWriter, open_video
from singletrack.video.sound import Sound
from singletrack.video.writer import CODECS, Encoding


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("90s", Segment(seconds=90)),
        ("10min", Segment(seconds=600)),
        ("1.5 h", Segment(seconds=5400)),
        ("500MB", Segment(bytes=500e6)),
        ("2GB", Segment(bytes=2e9)),
    ],
)
def test_lengths_and_sizes(text: str, segment: Segment) -> None:
    assert Segment.parse(text) == segment


@pytest.mark.parametrize("text", ["", "10", "0s", "10 days", "-5MB", "MB"])
def test_lengths_that_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="segment must be a length or a size, such as 10min or 500MB"):
        Segment.parse(text)


def test_numbered() -> None:
    assert numbered(Path("a/clip.mp4"), 3) == Path("a/clip-0003.mp4")


# --- sound, codecs and colors ------------------------------------------------------------------------------


def make_source(path: Path, codec: str, *, colors: int = 1) -> Path:
    """Three seconds of one color at ten frames a second; the tone rises from 0 to 1000 Hz, so its pitch is the time."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.colorspace = video.codec_context.color_primaries = video.codec_context.color_trc = colors
        sound = container.add_stream(codec, rate=48000)
        sound.layout = "mono"
        picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), (200, 30, 60), np.uint8), format="rgb24")
        for index in range(30):
            encoded = picture.reformat(format="yuv420p", dst_colorspace="ITU601" if colors == 6 else "ITU709")
            encoded.pts, encoded.time_base = index, Fraction(1, 10)
            container.mux(video.encode(encoded))
        container.mux(video.encode(None))
        times = np.arange(3 * 48000) / 48000
        tone = 0.3 * np.sin(2 * math.pi * times**2 * 1000 / 6)
        for start in range(0, len(tone), 1024):
            piece = tone[None, start : start + 1024]
            kind = ("fltp", piece.astype(np.float32)) if codec == "aac" else ("s16", (piece * 32767).astype(np.int16))
            frame = av.AudioFrame.from_ndarray(kind[1], format=kind[0], layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def pitch(path: Path, moment: float) -> float:
    """Frequency of the sound around a moment, in Hz."""
    samples = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            values = frame.to_ndarray()[0].astype(float)
            if frame.time is not None and abs(frame.time - moment) < 0.15:
                samples.append(values)
    joined = np.concatenate(samples)
    crossings = np.count_nonzero(np.diff(np.signbit(joined)))
    return float(crossings / 2 / (len(joined) / 48000))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "pcm_s16le")])
def test_the_sound_stays_beside_its_picture(tmp_path: Path, name: str, codec: str) -> None:
    source, out = make_source(tmp_path / name, codec), tmp_path / "out.mp4"
    with (
        open_video(source) as video,
        VideoWriter(out, video.fps, sound=Sound(source, 1.0)) as writer,
    ):
        for seconds, frame in video.timed_frames():
            if 0.99 < seconds < 2.49:
                writer.write(frame, seconds - 1.0)
    with av.open(str(out)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(1.5, abs=0.1)
    for moment in (0.5, 1.0):
        assert pitch(out, moment) == pytest.approx((moment + 1) * 1000 / 3, abs=25)


def test_a_source_without_sound(tmp_path: Path) -> None:
    silent, out = tmp_path / "silent.mp4", tmp_path / "out.mp4"
    with VideoWriter(silent, 10) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
    with VideoWriter(out, 10, sound=Sound(silent, 0.0)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_and_quality(tmp_path: Path, codec: str) -> None:
    if CODECS[codec].encoder not in av.codecs_available:
        pytest.skip(f"this PyAV has no {CODECS[codec].encoder}")
    frames = np.random.default_rng(0).integers(0, 255, (6, 96, 128, 3), np.uint8)
    sizes = []
    for quality in (10, 90):
        path = tmp_path / f"{quality}.mp4"
        with VideoWriter(path, 10, encoding=Encoding(codec=codec, quality=quality)) as writer:
            for frame in frames:
                writer.write(frame)
        sizes.append(path.stat().st_size)
        with open_video(path) as video:
            assert len(list(video)) == 6
    assert sizes[1] > 2 * sizes[0]


def test_colors_are_kept(tmp_path: Path) -> None:
    source, out = make_source(tmp_path / "a.mp4", "aac", colors=6), tmp_path / "out.mp4"
    with open_video(source) as video:
        assert video.colors == (6, 6)
        with VideoWriter(out, video.fps, encoding=Encoding(colors=video.colors)) as writer:
            for frame in video:
                writer.write(frame)
    with open_video(out) as video:
        assert video.colors == (6, 6)
        assert np.abs(next(iter(video))[20, 20].astype(int) - (200, 30, 60)).max() < 8


@pytest.mark.parametrize("wrong", [{"codec": "divx"}, {"quality": 101}, {"quality": -1}])
def test_encodings_that_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Encoding(**wrong)
