from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import click
import pytest

from singletrack.cli import main as main_module
from singletrack.cli.main import VERBS, main
from singletrack.errors import InputError, MissingDependencyError, VideoError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: singletrack [OPTIONS] COMMAND [ARGS]...")
    for verb, (_, line) in VERBS.items():
        assert f"  {verb} " in text
        assert line in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: singletrack {verb} ")


def test_help_loads_nothing_heavy() -> None:
    program = """
import sys
from singletrack.cli.main import main
main(["--help"])
heavy = {"torch", "openvino", "onnxruntime", "av", "cv2", "numpy", "tqdm"} & set(sys.modules)
assert not heavy, heavy
"""
    process = run("-c", program)
    assert process.returncode == 0, process.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"singletrack {version('singletrack')}\n"


def test_as_a_module() -> None:
    process = run("-m", "singletrack", "track", "missing.mp4", "--box", "1,2,3,4")
    assert process.returncode == 2
    assert process.stderr.startswith("singletrack: source not found: missing.mp4")
    assert "Traceback" not in process.stderr
    assert process.stderr.count("\n") == 1


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["follow"]) == 2
    assert "No such command 'follow'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("expected A, got B, do C"), 2),
        (VideoError("expected A, got B, do C"), 1),
        (MissingDependencyError("expected A, got B, do C"), 1),
    ],
)
def test_errors_become_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    monkeypatch.setattr(
        main_module.Verbs, "get_command", lambda *_: click.Command("fail", callback=lambda: fail(error))
    )
    assert main(["fail"]) == code
    assert capsys.readouterr().err == "singletrack: expected A, got B, do C\n"


def test_errors_that_nobody_foresaw_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ZeroDivisionError()
    monkeypatch.setattr(
        main_module.Verbs, "get_command", lambda *_: click.Command("fail", callback=lambda: fail(error))
    )
    with pytest.raises(ZeroDivisionError):
        main(["fail"])


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stop = KeyboardInterrupt()
    monkeypatch.setattr(main_module.Verbs, "get_command", lambda *_: click.Command("stop", callback=lambda: fail(stop)))
    assert main(["stop"]) == 130
    assert "singletrack: interrupted" in capsys.readouterr().err


def fail(error: BaseException) -> None:
    raise error
