"""benchmarks/clips.py: that variants are followed over the same clips, and compared with the first."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "clips.py"


@pytest.mark.parametrize("kind", ["plain", "posts", "turning"])
def test_variants_are_compared_clip_by_clip(kind: str) -> None:
    spec = importlib.util.spec_from_file_location("clips", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = ["--clips", "1", "--frames", "6", "--kind", kind, "--set", "size_momentum=0.8,0"]
    said = CliRunner().invoke(module.main, arguments, catch_exceptions=False).output.splitlines()
    assert [line.split(":")[0] for line in said] == ["ostrack-tiny size_momentum=0.8", "ostrack-tiny size_momentum=0"]
    first, second = (float(line.split("AO ")[1].split()[0]) for line in said)
    assert first > 0.3
    assert "(+0.000, standard error 0.000)" in said[0]
    assert float(said[1].split("(")[1].split(",")[0]) == pytest.approx(second - first, abs=0.0011)
