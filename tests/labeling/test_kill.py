"""A process that edits is killed at random moments: what it reported as done is there afterwards."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from singletrack.labeling import Project

KILLS = 40

EDITOR = """
import json, random, sys
from singletrack.labeling import LabeledBox, Project

path, seed = sys.argv[1], int(sys.argv[2])
draw = random.Random(seed)
with Project.open(path) as project:
    print("ready", flush=True)
    while True:
        frame, left = draw.randrange(20), draw.randrange(40)
        action = draw.random()
        if action < 0.7:
            project.set_keyframe(1, frame, (left, 5, 10, 10))
        elif action < 0.8:
            project.undo()
        else:
            for segment in project.stale_segments(1):
                box = LabeledBox(box=(left, 5, 10, 10), score=0.5, source="tracker")
                project.store_track(segment, {number: box for number in range(segment.first, segment.last + 1)})
        state = {frame: each.box for frame, each in project.boxes(1).items()}
        print(json.dumps(state), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_at_random_moments(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.singletrack"
    with Project.create(path, clip) as project:
        project.add_target("car")
    draw = random.Random(0)
    acknowledged = 0
    for kill in range(KILLS):
        editor = subprocess.Popen([sys.executable, "-c", EDITOR, str(path), str(kill)], stdout=subprocess.PIPE)
        assert editor.stdout is not None
        assert editor.stdout.readline() == b"ready\n"
        lines = [editor.stdout.readline() for _ in range(draw.randrange(5))]
        time.sleep(draw.uniform(0.0, 0.02))
        editor.send_signal(signal.SIGKILL)
        lines += [line for line in editor.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
        editor.stdout.close()
        editor.wait()
        acknowledged += len(lines)
        with Project.open(path) as project:  # the lock went with the process
            found = {str(frame): list(each.box or ()) for frame, each in project.boxes(1).items()}
            if lines:
                check(project, json.loads(lines[-1]), found)
            if project.undo():
                assert project.redo()
            assert {str(frame): list(each.box or ()) for frame, each in project.boxes(1).items()} == found
    assert acknowledged > KILLS


def check(project: Project, reported: dict[str, list[float]], found: dict[str, list[float]]) -> None:
    """What was reported last is there, or what one more change, done but not reported yet, made of it."""
    if found == reported:
        return
    if project.undo():
        undone = {str(frame): list(each.box or ()) for frame, each in project.boxes(1).items()}
        assert project.redo()
        if undone == reported:
            return
    if project.redo():
        redone = {str(frame): list(each.box or ()) for frame, each in project.boxes(1).items()}
        assert project.undo()
        if redone == reported:
            return
    # Tracks were being stored: keyframes are as they were, and boxes of finished segments are new.
    for frame, each in project.keyframes(1).items():
        assert reported[str(frame)] == list(each.box or ())
    assert found.keys() >= reported.keys()
