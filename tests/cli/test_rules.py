"""Rules that hold for every command: what is missing, what exists already, what does not go together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from singletrack.cli.main import VERBS, main, singletrack
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.video import VideoWriter

BOX = "--box 4,5,20,16"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a clip, a text file, a folder with a file, and an empty one."""
    monkeypatch.chdir(tmp_path)
    with VideoWriter(tmp_path / "clip.mp4", 30) as writer:
        for frame, _ in generate_clip(frames=4):
            writer.write(frame)
    (tmp_path / "there.txt").write_text("mine")
    (tmp_path / "there.jsonl").write_text('{"video": "clip.mp4", "box": [4, 5, 20, 16], "start": 0}\n')
    (tmp_path / "boxes.csv").write_text("frame,time,x,y,width,height,score,lost\n0,0.0,4,5,20,16,1.0,0\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    return tmp_path


# each way in which a command reads a file, with a name that does not exist
MISSING = [
    f"track missing.mp4 {BOX}",
    f"track missing/*.png {BOX}",
    f"track empty {BOX}",
    "track clip.mp4 --targets missing.txt",
    "track clip.mp4 --from-image missing.jpg",
    f"track clip.mp4 {BOX} --weights missing.safetensors",
    "live missing.mp4 --no-browser",
    "bulk missing.csv --out out",
    "bulk status missing",
    "label missing.mp4 --no-browser",
    "label clip.mp4 --no-browser --weights missing.safetensors",
    "labels missing.json --out out.json",
    "labels boxes.csv --video missing.mp4 --out out.json",
    "plot missing.csv",
    "convert missing.pth --model ostrack-256 --out out.safetensors",
    "train ostrack_tiny --photos missing --out out",
    "train ostrack_tiny --weights missing.safetensors --out out",
    "train ostrack_256 --data got10k=missing --out out",
    "train ostrack_tiny --resume --out missing",
    "finetune ostrack-tiny --data folder=missing --out out",
    "finetune ostrack-tiny --data folder=full --weights missing.safetensors --out out",
    "export ostrack-tiny --weights missing.safetensors --out out.onnx",
    "export ostrack-tiny --photos missing --out out.onnx",
    "datasets check got10k --root missing",
    "datasets crops got10k --root missing --out out",
    "evaluate got10k --root missing",
    "evaluate folder --root full --split-file missing.txt",
    "submit got10k missing --out out.zip",
    "report missing --root full",
    "plot-runs missing --out out.png",
    f"inspect missing.mp4 {BOX} --out out",
    f"inspect clip.mp4 {BOX} --out out --weights missing.safetensors",
    "profile ostrack-tiny --engines torch --weights missing.safetensors",
    "vot register --workspace missing",
]
READS_NOTHING = {"demo", "models", "doctor"}


@pytest.mark.parametrize("line", MISSING)
def test_a_file_that_is_not_there_is_exit_code_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if line.split()[0] in ("train", "finetune", "export", "inspect", "profile"):
        pytest.importorskip("torch")
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert ("empty" if "track empty" in line else "missing") in said
    assert "Traceback" not in said


def test_every_verb_is_among_them() -> None:
    assert {line.split()[0] for line in MISSING} | READS_NOTHING == set(VERBS)


# each command that writes, with outputs that exist
EXISTING = [
    ("demo", "demo.mp4"),
    ("demo", "demo.csv"),
    ("demo", "demo-clip.mp4"),
    (f"track clip.mp4 {BOX} --out out.mp4", "out.mp4"),
    (f"track clip.mp4 {BOX} --crop out.mp4", "out.mp4"),
    (f"track clip.mp4 {BOX} --save-boxes out.csv", "out.csv"),
    (f"track clip.mp4 {BOX} --save-boxes out.xml", "out.xml"),
    ("labels boxes.csv --video clip.mp4 --out out.json --format coco", "out.json"),
    ("plot boxes.csv", "boxes.png"),
    ("convert there.txt --model ostrack-tiny --out out.safetensors", "out.safetensors"),
    ("export ostrack-tiny --out out.onnx", "out.onnx"),
    ("profile ostrack-tiny --json out.json", "out.json"),
    ("profile ostrack-tiny --plot out.png", "out.png"),
    (f"inspect clip.mp4 {BOX} --out out", "out/other.txt"),
    ("report full --root empty --data folder --out out", "out/other.txt"),
    ("plot-runs full --out out.png", "out.png"),
]


@pytest.mark.parametrize(("line", "name"), EXISTING)
def test_nothing_is_replaced_unasked(line: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = folder / name
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(line.split()) == 2
    assert re.search(r"already; add --overwrite to replace (it|those)", capsys.readouterr().err)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_whoever_takes_an_output_asks_or_goes_on_with_it() -> None:
    takes, asks = set(), set()
    for name, options in options_of(singletrack, click.Context(singletrack, info_name="singletrack")):
        takes |= {name} if "--out" in options else set()
        asks |= {name} if "--overwrite" in options else set()
    goes_on = {"train", "finetune", "evaluate", "bulk run", "datasets crops"}
    assert takes | {"profile"} == asks | goes_on
    assert not asks & goes_on


def options_of(command: click.Command, context: click.Context) -> Iterator[tuple[str, set[str]]]:
    if not isinstance(command, click.Group):
        yield " ".join(context.command_path.split()[1:]), {name for each in command.params for name in each.opts}
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner
        yield from options_of(inner, click.Context(inner, info_name=name, parent=context))


NOT_A_FOLDER = [
    "demo --out there.txt/x",
    f"track clip.mp4 {BOX} --out there.txt/x.mp4",
    f"track clip.mp4 {BOX} --save-boxes there.txt/x.csv",
    f"track clip.mp4 {BOX} --save-boxes there.txt/x.xml",
    f"inspect clip.mp4 {BOX} --out there.txt",
    "labels boxes.csv --video clip.mp4 --out there.txt/x.json --format coco",
    "plot boxes.csv --out there.txt/x.png",
    "export ostrack-tiny --out there.txt/x.onnx",
    "profile ostrack-tiny --json there.txt/x.json",
    "train ostrack_tiny --out there.txt",
    "finetune ostrack-tiny --data folder=full --out there.txt",
    "bulk there.jsonl --out there.txt",
    "live clip.mp4 --no-browser --record-to there.txt/x",
]


@pytest.mark.parametrize("line", NOT_A_FOLDER)
def test_a_file_in_place_of_a_folder_is_named(
    line: str, folder: Path, loads: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if line.split()[0] in ("train", "finetune", "inspect", "export"):
        pytest.importorskip("torch")
    assert main(line.split()) == 2
    assert re.search(r"expected a folder.*; \S*there\.txt is a file; choose another name", capsys.readouterr().err)
    assert (folder / "there.txt").read_text() == "mine"


def test_a_folder_in_place_of_a_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    line = "labels boxes.csv --video clip.mp4 --format csv --out empty"
    assert main(line.split()) == 2
    assert "expected the name of a file to write; empty is a folder" in capsys.readouterr().err


CONFLICTS = [
    ("--blur --fill", "--blur and --fill cannot be combined"),
    ("--blur --pixelate --fill", "--blur and --pixelate and --fill cannot be combined"),
    ("--reverse --both-ways", "--reverse and --both-ways cannot be combined"),
    ("--zone door=1,2,3,4", "--zone goes with --webhook or --mqtt"),
    ("--save-boxes out.csv --codec hevc", "--codec and --quality go with --out or --crop"),
    ("--save-boxes out.csv --quality 75", "--codec and --quality go with --out or --crop"),
    ("--pan-tilt", "--pan-tilt goes with JSON lines"),
    ("--pan-tilt --save-boxes out.csv", "--pan-tilt goes with JSON lines"),
    ("--stdout --save-boxes out.csv", "--stdout is short for --save-boxes -"),
    ("--stdout --format coco", "standard output gets JSON lines"),
    ("--stdout --segment 1min", "--segment goes with files"),
    ("--aspect 9:16", "go with --crop"),
    ("--format coco", "expected --save-boxes PATH with --format"),
]


@pytest.mark.parametrize(("options", "said"), CONFLICTS)
def test_options_of_track_that_do_not_go_together(
    options: str, said: str, loads: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"track clip.mp4 {BOX} {options}".split()) == 2
    assert said in capsys.readouterr().err
    assert loads == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("track clip.mp4 --from-image there.txt --normalized", "go with --box or --targets"),
        ("report full --root full --strips 3", "--strips goes with --out"),
        ("bulk boxes.csv --out out --gpus 1", "--gpus goes with --ray"),
        ("profile ostrack-tiny --count-only --parts", "leave them or --count-only out"),
        (f"inspect clip.mp4 {BOX} --out out --engine onnx", "inspect runs in PyTorch"),
        (f"inspect clip.mp4 {BOX} --out out --start 2 --end 2", "--end must be after the --start frame 2; got 2"),
    ],
)
def test_options_of_others_that_do_not_go_together(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--timeout 10", "--timeout: without effect on clip.mp4\n"),
        ("--every-frame --size 64x48", "--every-frame, --size: without effect on clip.mp4\n"),
        ("--end 2", ""),
    ],
)
def test_options_of_streams_are_noted_for_a_file(
    options: str, said: str, loads: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"track clip.mp4 {BOX} --save-boxes out.csv {options}".split()) == 0
    assert said in capsys.readouterr().err
    assert ("without effect" in said) == bool(said)


def help_texts(command: click.Command, context: click.Context) -> list[str]:
    texts = [command.get_help(context)]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            texts += help_texts(inner, click.Context(inner, info_name=name, parent=context))
    return texts


def test_no_help_names_a_file_of_the_repository() -> None:
    texts = help_texts(singletrack, click.Context(singletrack, info_name="singletrack"))
    assert len(texts) > len(VERBS)
    assert not [text for text in texts if re.search(r"\bdocs/\w|\.md\b", text)]
