"""Try hostile and damaged input by the thousand, and print the table of what came of it.

    python benchmarks/attack.py                      # the counts of BENCHMARKS.md; an hour on two cores
    python benchmarks/attack.py videos=500 kills=20  # some kinds, with counts of your own

Each case runs in a worker process with limits on time and memory, and is made from its number alone, so that a case
that fails can be run again: --case videos:123. The kinds and what counts as a right answer:

    videos       bytes flipped, changed, zeroed, dropped or cut; every frame is delivered, or an error says so
    boxes        boxes and frames of odd values, types and shapes; the result lies inside the frame
    checkpoints  checkpoints and exported files, changed as videos are, and pickles of random steps; same tensors
    files        archives and annotations, changed as videos are; every sequence with a box for each frame
    kills        writers of results, videos, weights and runs, killed at a random moment; what is left is complete
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from singletrack.errors import DamagedVideoError, SingletrackError

COUNTS = {"videos": 10_000, "boxes": 10_000, "checkpoints": 2_000, "files": 2_000, "kills": 200}
OUTCOMES = ("clear error", "right answer", "hang", "crash", "wrong")
SECONDS, BYTES = 60, 8 << 30  # limits for each case
Case = Callable[[random.Random, Path], str]


class Wrong(Exception):
    """An answer that is not right."""


# --- how input is changed ------------------------------------------------------------------------------------------


def mutate(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """The content with a change of a random kind, and that kind."""
    data, kind = bytearray(content), rng.choice(["flip", "bytes", "cut", "zero", "drop", "double", "numbers"])
    place = rng.randrange(len(data))
    if kind == "flip":
        data[place] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        for _ in range(rng.randrange(1, 10)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "cut":
        del data[place:]
    elif kind == "zero":
        data[place : place + 40] = bytes(len(data[place : place + 40]))
    elif kind == "drop":
        del data[place : place + rng.randrange(1, 200)]
    elif kind == "double":
        data[place:place] = data[place : place + rng.randrange(1, 200)]
    else:  # the largest and smallest of a number's range are where sums overflow
        data[place : place + 4] = rng.choice([b"\xff" * 4, b"\x7f" + b"\xff" * 3, b"\x80" + bytes(3), bytes(4)])
    return bytes(data), kind


# --- videos --------------------------------------------------------------------------------------------------------

FRAMES = 20
VIDEOS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "h264.mp4": ("libx264", {"g": "10"}, {}),
    "fragments.mp4": ("libx264", {"g": "5"}, {"movflags": "frag_keyframe+empty_moov"}),
    "h264.mov": ("libx264", {"g": "10"}, {}),
    "h264.mkv": ("libx264", {"g": "10"}, {}),
    "hevc.mkv": ("libx265", {"x265-params": "log-level=none:keyint=10"}, {}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none:keyint=10"}, {}),
    "vp9.webm": ("libvpx-vp9", {}, {}),
}


def make_videos(folder: Path) -> dict[str, bytes]:
    import av

    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    made = {}
    for name, (codec, options, muxing) in VIDEOS.items():
        with av.open(str(folder / name), "w", options=muxing) as container:
            stream: Any = container.add_stream(codec, rate=10, options=options)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for shift in range(FRAMES):
                frame = np.ascontiguousarray(pixels[:, shift : shift + 64])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        made[name] = (folder / name).read_bytes()
    return made


def try_video(rng: random.Random, folder: Path, seeds: dict[str, bytes]) -> str:
    from singletrack.video import open_video

    name = rng.choice(list(seeds))
    data, kind = mutate(seeds[name], rng)
    path = folder / f"case.{name}"
    path.write_bytes(data)
    frames = 0
    try:
        with open_video(path) as video:
            for frame in video:
                frames += 1
                if frame.dtype != np.uint8 or frame.ndim != 3:
                    raise Wrong(f"a frame of {frame.shape} {frame.dtype}")
    except DamagedVideoError:
        return "clear error"
    if frames < FRAMES:
        raise Wrong(f"{frames} of {FRAMES} frames of {name} without an error, after {kind}")
    return "right answer"


# --- boxes and frames ------------------------------------------------------------------------------------------------


def odd_number(rng: random.Random) -> Any:
    return rng.choice(
        [
            rng.uniform(-50, 350),
            rng.uniform(-50, 350),
            rng.randrange(300),
            rng.uniform(0, 1),
            rng.choice([0, -1, 1e-300, 1e18, 1e154, 1e308, 2**63, 2**64, 10**400, 10**5000]),
            rng.choice([float("nan"), float("inf"), float("-inf"), None, "7", b"7", 1j, True, [3], np.float16(9)]),
            np.random.default_rng(rng.randrange(9)).choice(np.arange(300)),
        ]
    )


def odd_box(rng: random.Random) -> Any:
    if rng.random() < 0.7:
        return (rng.uniform(-20, 200), rng.uniform(-20, 150), rng.uniform(0.1, 200), rng.uniform(0.1, 200))
    values = [odd_number(rng) for _ in range(rng.choice([4, 4, 4, 4, 4, 3, 5, 0]))]
    with np.errstate(all="ignore"):
        forms: list[Callable[[], Any]] = [
            lambda: tuple(values),
            lambda: values,
            lambda: iter(values),
            lambda: dict(enumerate(values)),
            lambda: np.array(values, dtype=object),
            lambda: np.array(values, dtype=np.float64),
            lambda: np.ma.array(values, mask=[True, *[False] * (len(values) - 1)]),
            lambda: ",".join(map(str, values)),
            lambda: values[0],
        ]
        try:
            return rng.choice(forms)()
        except Exception:  # numpy does not make such an array
            return tuple(values)


def odd_frame(rng: random.Random) -> Any:
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    height, width = rng.choice(
        [(180, 240), (180, 240), (180, 240), (1, 300), (300, 1), (2, 2), (3, 500), (0, 9), (9, 9)]
    )
    shape = rng.choice([(height, width, 3)] * 15 + [(height, width), (height, width, 4), (height, width, 1), (height,)])
    frame: Any = numbers.integers(0, 256, shape, dtype=np.uint8)
    if rng.random() < 0.1:
        frame[:] = 7
    kind = rng.randrange(30)
    if kind == 0:
        frame = frame.astype(rng.choice([np.float32, np.uint16, np.int64, bool, complex, object]))
    elif kind == 1 and frame.ndim == 2:
        frame = np.matrix(frame)
    elif kind == 2:
        frame = frame[::-1, ::-1] if frame.ndim > 1 else frame
    elif kind == 3:
        frame = np.asfortranarray(frame)
    elif kind == 4:
        frame.flags.writeable = False
    elif kind == 5:
        frame = np.ma.array(frame, mask=rng.random() < 0.5)
    elif kind == 6:
        frame = rng.choice([None, frame.tolist()[:2], frame.tobytes(), "frame", frame[None]])
    return frame


def try_box(rng: random.Random, folder: Path, tracker: Any) -> str:
    frame, box = odd_frame(rng), odd_box(rng)
    tracker.init(frame, box)
    height, width = frame.shape[:2]
    for _ in range(2):
        result = tracker.update(frame if rng.random() < 0.7 else odd_frame(rng))
        x, y, box_width, box_height = result.box
        inside = x >= -1e-6 and y >= -1e-6 and x + box_width <= width + 1e-6 and y + box_height <= height + 1e-6
        if not (inside and 0 <= result.score <= 1 and box_width > 0 and box_height > 0):
            raise Wrong(f"{result} in a frame of {width} x {height}")
    return "right answer"


# --- checkpoints and exports -----------------------------------------------------------------------------------------


def make_checkpoints(folder: Path) -> dict[str, bytes]:
    import onnx
    import torch
    from onnx import TensorProto, helper

    from singletrack.models.checkpoints import save_safetensors

    weights = {name: torch.arange(24.0).reshape(4, 6) for name in ("head.weight", "head.bias", "module.x")}
    torch.save({"net": weights, "epoch": 3}, folder / "zip.pth")
    torch.save({"net": weights, "epoch": 3}, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    save_safetensors(weights, folder / "own.safetensors", "toy")

    def crops(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 4, 4])

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["template", "one"], ["features"]),
            helper.make_node("Add", ["features", "search"], ["score"]),
        ],
        "toy",
        [crops("template"), crops("search")],
        [crops("score")],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
        value_info=[crops("features")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "toy.onnx")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def random_pickle(rng: random.Random) -> bytes:
    """A pickle of random steps, most of which find what they need on the stack."""
    steps = [
        b"}",
        b"]",
        b")",
        b"(",
        b"K\x05",
        b"2",
        b"\x85",
        b"\x86",
        b"\x87",
        b"t",
        b"l",
        b"d",
        b"s",
        b"u",
        b"a",
        b"e",
    ]
    steps += [
        b"R",
        b"b",
        b"Q",
        b"0",
        b"N",
        b"\x81",
        b"\x8f",
        b"\x90",
        b"\x91",
        b"\x94",
        b"h\x00",
        b"q\x00",
        b"X\x01\x00\x00\x00a",
    ]
    steps += [
        b"ccollections\nOrderedDict\n",
        b"cos\nsystem\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
    ]
    steps += [
        b"J" + struct.pack("<i", rng.randrange(-(1 << 31), 1 << 31)),
        b"X\x07\x00\x00\x00storage",
        b"2\x86" * rng.randrange(40),
    ]
    return b"\x80\x02" + b"".join(rng.choice(steps) for _ in range(rng.randrange(2, 60))) + b"."


def try_checkpoint(rng: random.Random, folder: Path, seeds: dict[str, bytes]) -> str:
    from singletrack.engines import open_network
    from singletrack.models.checkpoints import read_weights

    name = rng.choice(list(seeds))
    path = folder / f"case.{name}"
    if name == "toy.onnx":
        path.write_bytes(mutate(seeds[name], rng)[0])
        network = open_network(rng.choice(["openvino", "onnx"]), path, "cpu", threads=1)
        if set(network.metadata) - {"model"}:
            raise Wrong(str(network.metadata))
        return "right answer"
    if name != "own.safetensors" and rng.random() < 0.4:
        pickled = random_pickle(rng)
        if name == "zip.pth":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", pickled)
        else:
            start = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {}))
            path.write_bytes(start + pickled + pickle.dumps([], 2))
    else:
        path.write_bytes(mutate(seeds[name], rng)[0])
    weights = read_weights(path)
    if not all(tensor.numel() <= 1000 for tensor in weights.values()):
        raise Wrong(str({name: tensor.shape for name, tensor in weights.items()}))
    return "right answer"


# --- archives and annotations ----------------------------------------------------------------------------------------


def make_files(folder: Path) -> dict[str, bytes]:
    import cv2

    picture = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    boxes = b"1,2,3,4\n" * 3
    members = {f"s{number}/{name}.png": picture for number in range(3) for name in (1, 2, 3)}
    members |= {f"s{number}/groundtruth.txt": boxes for number in range(3)}
    made: dict[str, bytes] = {}
    for name, compression in (("stored.zip", zipfile.ZIP_STORED), ("packed.zip", zipfile.ZIP_DEFLATED)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        made[name] = buffer.getvalue()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    made["a.tar"] = buffer.getvalue()[: -tarfile.RECORDSIZE // 2]  # without most of its padding
    made["gt.txt"] = b"".join(b"%d,%d,1,2,3,4,1,1,1.0\n" % (frame, track) for track in (1, 2) for frame in (1, 2, 3))
    made["groundtruth.txt"] = b"1,2,3,4\n1.5,2,3,4\nm0,0,4,4,3,2,11\n"
    images = [{"id": 1, "file_name": "1.png", "width": 8, "height": 8}]
    made["coco.json"] = json.dumps(
        {"images": images, "annotations": [{"id": 5, "image_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0}]}
    ).encode()
    made["annotations.xml"] = (
        b'<?xml version="1.0"?><annotations><track id="0"><box frame="0" xtl="1" ytl="2" xbr="3" ybr="4" outside="0"/>'
        b'<box frame="2" xtl="1" ytl="2" xbr="3" ybr="4"/></track><image id="0" name="1.png" width="8" height="8">'
        b'<box xtl="1" ytl="2" xbr="3" ybr="4"/></image></annotations>'
    )
    made["picture.png"] = picture
    return made


def try_file(rng: random.Random, folder: Path, seeds: dict[str, bytes]) -> str:
    from singletrack.datasets.registry import open_dataset
    from singletrack.datasets.storage import _opened

    _opened.cache_clear()
    root = Path(tempfile.mkdtemp(dir=folder))
    names = [name for name in seeds if name != "picture.png"]
    name = rng.choice(names)
    data, kind = mutate(seeds[name], rng)
    dataset = {"gt.txt": "mot", "coco.json": "coco_export", "annotations.xml": "cvat"}.get(name, "folder")
    pictures = {"mot": "walk/img1", "coco_export": ".", "cvat": "images"}.get(dataset, "one")
    if not name.endswith((".zip", ".tar")):
        (root / pictures).mkdir(parents=True, exist_ok=True)
        for number in (1, 2, 3):
            (root / pictures / f"{number}.png").write_bytes(seeds["picture.png"])
    place = {"gt.txt": "walk/gt/gt.txt", "groundtruth.txt": "one/groundtruth.txt"}.get(name, name)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_bytes(data)
    sequences = open_dataset(dataset, root / name if name.endswith((".zip", ".tar")) else root)
    for sequence in sequences:
        if len(sequence.boxes_xywh) != len(sequence.frames) and len(sequence.boxes_xywh) != 1:
            raise Wrong(f"{len(sequence.boxes_xywh)} boxes for {len(sequence.frames)} frames")
        if sequence.frames[0].shape[2] != 3:
            raise Wrong(f"a frame of {sequence.frames[0].shape}")
    if kind == "cut" and name.endswith((".zip", ".tar")) and len(sequences) != 3:
        raise Wrong(f"{len(sequences)} of 3 sequences of {name}, after it was cut")
    return "right answer"


# --- kills -----------------------------------------------------------------------------------------------------------


def write_for_ever(folder: Path) -> None:
    """Results, a video, weights and a run, over and over; frame n has its box at n."""
    import torch

    from singletrack.evaluation.run_store import RunFacts, RunFolder, SequenceResult
    from singletrack.models.checkpoints import save_safetensors
    from singletrack.results import ResultWriter
    from singletrack.tracking.base import Result
    from singletrack.video import VideoWriter

    names = {f"s{number}": 20 for number in range(1000)}
    facts = RunFacts(
        dataset="folder",
        split="",
        sequences=names,
        model="m",
        weights="w",
        engine="e",
        device="d",
        precision="fp32",
        settings={},
        version="0",
    )
    run = RunFolder.start(folder / "run", facts)
    endings = (".txt", ".csv", ".jsonl")
    results = [ResultWriter(folder / f"boxes{ending}") for ending in endings]
    video = VideoWriter(folder / "video.mp4", 10)
    for number in range(1000):
        for writer in results:
            writer.write(number, number / 10, Result(box=(number, 1.5, 2.5, 3.5), score=0.5, lost=False))
        video.write(np.full((32, 32, 3), number % 256, np.uint8), number / 10)
        save_safetensors({"a": torch.full((50_000,), float(number))}, folder / "weights.safetensors", "toy")
        boxes = np.full((20, 4), float(number))
        result = SequenceResult(boxes_xywh=boxes, seconds=boxes[:, 0], scores=boxes[:, 0], lost=boxes[:, 0] < 0)
        run.write(f"s{number}", result)
    time.sleep(60)


def try_kill(rng: random.Random, folder: Path) -> str:
    from singletrack.evaluation.run_store import RunFolder
    from singletrack.files import remove_unfinished
    from singletrack.models.checkpoints import read_weights
    from singletrack.results import read_results
    from singletrack.video import open_video

    root = Path(tempfile.mkdtemp(dir=folder))
    child = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(root,))
    child.start()
    while not (root / "weights.safetensors").exists() and child.is_alive():
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1.0))
    child.kill()
    child.join()
    for ending in (".txt", ".csv", ".jsonl"):
        try:
            records = read_results(root / f"boxes{ending}")
        except SingletrackError as error:
            if "complete line" not in str(error):
                raise
            continue
        if [record.box for record in records] != [(number, 1.5, 2.5, 3.5) for number in range(len(records))]:
            raise Wrong(f"boxes{ending} has other boxes than were written")
    try:
        with open_video(root / "video.mp4") as video:
            for _ in video:
                pass
    except DamagedVideoError:
        pass
    weights = read_weights(root / "weights.safetensors")["a"]
    if len(weights) != 50_000 or len(weights.unique()) != 1:
        raise Wrong("weights of two files in one")
    run = RunFolder.open(root / "run")
    for name in run.done():
        if len(np.unique(run.read(name).boxes_xywh)) != 1:
            raise Wrong(f"{name} is not complete")
    for place in (root, root / "run" / "boxes", root / "run" / "scores", root / "run" / "times"):
        remove_unfinished(place)
        if left := [path.name for path in place.iterdir() if path.name.startswith(".")]:
            raise Wrong(f"left over: {left}")
    return "right answer"


# --- running cases ---------------------------------------------------------------------------------------------------


def prepare(kind: str, folder: Path) -> Case:
    """What runs a case of a kind."""
    if kind == "videos":
        import av

        av.logging.set_level(None)
        videos = make_videos(folder)
        return lambda rng, place: try_video(rng, place, videos)
    if kind == "boxes":
        from singletrack import load

        tracker = load(threads=1)
        return lambda rng, place: try_box(rng, place, tracker)
    if kind == "checkpoints":
        checkpoints = make_checkpoints(folder)
        return lambda rng, place: try_checkpoint(rng, place, checkpoints)
    if kind == "files":
        files = make_files(folder)
        return lambda rng, place: try_file(rng, place, files)
    import torch  # noqa: F401 (before the fork: each child starts in no time)

    import singletrack.evaluation.run_store
    import singletrack.models.checkpoints
    import singletrack.video.writer  # noqa: F401

    return try_kill


def run_case(case: Case, number: int, kind: str) -> tuple[str, str]:
    """The outcome of a case, and what was wrong."""
    with tempfile.TemporaryDirectory() as place:
        try:
            return case(random.Random(f"{kind} {number}"), Path(place)), ""
        except SingletrackError as error:
            message = str(error)
            clear = len(message) <= 2000 and ";" in message  # what came, and what to do next
            return ("clear error", "") if clear else ("wrong", f"an unclear error: {message[:300]}")
        except Wrong as error:
            return "wrong", str(error)[:300]
        except Exception:
            return "wrong", traceback.format_exc()[-600:]


def work(connection: Any, kind: str) -> None:
    """A worker: answers numbers of cases with their outcomes."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "the matrix subclass", PendingDeprecationWarning)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)  # libraries write of damage there
    with tempfile.TemporaryDirectory() as folder:
        case = prepare(kind, Path(folder))
        connection.send(None)
        while (number := connection.recv()) is not None:
            connection.send(run_case(case, number, kind))


def run_kind(kind: str, count: int, first: int, workers: int) -> tuple[Counter[str], list[str]]:
    """The outcomes of the cases of a kind, and what went wrong."""
    context = multiprocessing.get_context("spawn")
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    waiting = list(range(first, first + count))[::-1]
    running: dict[Any, tuple[Any, int | None, float]] = {}

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, kind), daemon=kind != "kills")
        process.start()
        theirs.close()
        running[ours] = (process, None, time.monotonic() + 300)

    for _ in range(min(workers, count)):
        start()
    while running:
        multiprocessing.connection.wait(list(running), timeout=1)
        for connection, (process, number, deadline) in list(running.items()):
            answer: tuple[str, str] | None = None
            if connection.poll():
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    answer = ("crash", f"exit code {process.exitcode}")
                    del running[connection]
            elif time.monotonic() > deadline:
                answer = ("hang", f"over {SECONDS} seconds")
                process.kill()
                del running[connection]
            else:
                continue
            if number is None and answer is not None:
                raise SystemExit(f"a worker for {kind} did not start: {answer}")
            if number is not None and answer is not None:
                outcomes[answer[0]] += 1
                if answer[0] not in OUTCOMES[:2]:
                    faults.append(f"{kind}:{number} {answer[0]}: {answer[1]}")
            if connection in running:
                if waiting:
                    following = waiting.pop()
                    connection.send(following)
                    running[connection] = (process, following, time.monotonic() + SECONDS)
                else:
                    connection.send(None)
                    process.join()
                    del running[connection]
            elif waiting:
                start()
    return outcomes, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="KIND or KIND=COUNT; all, if none is given")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--case", help="run one case in this process, as videos:123")
    arguments = parser.parse_args()
    if arguments.case:
        kind, _, number = arguments.case.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            print(*run_case(prepare(kind, Path(folder)), int(number), kind))
        return 0
    counts = dict(COUNTS)
    if arguments.kinds:
        pairs = [text.partition("=") for text in arguments.kinds]
        counts = {kind: int(count or COUNTS[kind]) for kind, _, count in pairs}
    failed = False
    print(f"| kind | count | {' | '.join(OUTCOMES)} |\n|{' --- |' * (2 + len(OUTCOMES))}", flush=True)
    for kind, count in counts.items():
        outcomes, faults = run_kind(kind, count, arguments.first, arguments.workers)
        cells = " | ".join(f"{outcomes[each]:,}" for each in OUTCOMES)
        print(f"| {kind} | {sum(outcomes.values()):,} | {cells} |", flush=True)
        print(*faults[:50], sep="\n", file=sys.stderr, flush=True)
        failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
