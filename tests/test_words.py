"""The prose of the project is plain English: phrases of its former private dialect do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    [
        *(ROOT / "src" / "singletrack").rglob("*.py"),
        *(ROOT / "src" / "singletrack").rglob("*.html"),
        *(ROOT / "src" / "singletrack" / "weights").glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
    ]
)
# phrase -> what to write instead
PHRASES = {
    r"cannot be meant": "invalid",
    r"knows? nothing of": "nothing: tests/test_layers.py checks imports",
    r"\bso many\b": "this many, or N",
    r"\bmend(s|ed)?\b": "fix",
    r"what is asked|is asked for": "what is requested",
    r"\bas [A-Z]\w+ has it\b": "as in",
    r"\bwhich is none\b|\bthat is none\b|\bwhere there is none\b": "not found, or without",
    r"whole copy|whole or not at all": "complete copy, atomically",
    r"\bone's own\b": "your own",
    r"\b(was|were|is|be) told\b|\btells (the|which|what|how|whether)\b": "print, report, show",
    r"\bstands? (for|beside|there|in the|in its)\b": "is",
    r"goes on (where|from)|go on where": "resumes",
    r"\bmade (clip|clips|picture|pictures|frames)\b": "generated",
    r"\bnewest look|\bfirst look\b": "dynamic template, first template",
    r"\bby and by\b|\bnow and then\b": "gradually, sometimes",
    r"\bgraphics processors?\b": "GPU",
}


@pytest.mark.parametrize("phrase", PHRASES)
def test_the_old_dialect_does_not_come_back(phrase: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(phrase, line, re.IGNORECASE)
    ]
    assert not found, f"write plainly, for example {PHRASES[phrase]!r} instead of {phrase!r}:\n" + "\n".join(found)


def test_the_phrases_are_found_where_they_are() -> None:
    """Each pattern matches a line of the dialect that it is there for."""
    lines = (
        "raises InputError for a box that cannot be meant",
        "Knows nothing of engines.",
        "at most so many steps",
        "mend or remove it",
        "whatever is asked for later",
        "as DETR has it",
        "got PATH, which is none",
        "get a whole copy",
        "one's own kind of video",
        "what was told of it",
        "a cell stands for a coordinate",
        "it goes on where it stopped",
        "frames of a made clip",
        "the newest look of the target",
        "it creeps away by and by",
        "a graphics processor each",
    )
    for phrase, line in zip(PHRASES, lines, strict=True):
        assert re.search(phrase, line, re.IGNORECASE), phrase
