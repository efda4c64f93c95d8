"""The box of the first frame where the command line has none: drawn with the mouse, read from a picture with a grid."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from singletrack.drawing import draw_grid, draw_result, draw_results
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.install import docs_page
from singletrack.opencv import cv2
from singletrack.steps import Frame, TrackStep

TITLE = "singletrack"
SPACE, ESCAPE = 32, 27


def why_no_window() -> str:
    """Why no window can be opened; empty if one can."""
    gui = [line.split(":", 1)[1].strip() for line in cv2.getBuildInformation().splitlines() if "GUI:" in line]
    if not gui or gui[0].upper() == "NONE":
        return f"this OpenCV has no windows (opencv-python has; see {docs_page('opencv')})"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    return ""


def need_window(option: str, source: str) -> None:
    """Raise InputError where no window can be opened, and name the command that opens the page instead."""
    reason = why_no_window()
    if reason and option == "--show":
        page = f"singletrack live {shlex.quote(source)}"
        raise InputError(f"--show opens a window; {reason}; leave it out, or use the page instead: {page}")
    if reason:
        raise InputError(
            f"{option} opens a window; {reason}; use the page instead: {page_command(source)}; or leave {option} out, "
            "and the first frame is written with a grid of pixels, to read a box from"
        )


def page_command(source: str) -> str:
    """The command that opens a page in which a box is drawn on a source."""
    live = "://" in source or (source.isdecimal() and not Path(source).exists())
    return f"singletrack {'live' if live else 'label'} {shlex.quote(source)}"


def select_box(frame: Frame) -> Box:
    """Let the user draw a box with the mouse; raises InputError if none is drawn."""
    x, y, width, height = cv2.selectROI(TITLE, np.ascontiguousarray(frame[..., ::-1]), showCrosshair=False)
    cv2.destroyWindow(TITLE)
    if not (width and height):
        raise InputError("expected a box; none was drawn; drag with the mouse and press Enter")
    return float(x), float(y), float(width), float(height)


def write_grid(frame: Frame, path: Path, source: str) -> str:
    """Write the first frame with a grid of pixels; gives the message with the two ways on."""
    cv2.imwrite(str(path), draw_grid(frame)[..., ::-1])
    return (
        f"Missing option '--box': read the box from {path}, the first frame with a grid of pixels, and give the same "
        f"command with --box X,Y,W,H; or draw it in the browser: {page_command(source)}"
    )


class Window:
    """Context manager that shows each step. Space pauses, S draws the box anew, Q or Escape ends tracking.

    Args:
        restart: called with a box that was drawn anew.
    """

    def __init__(self, restart: Callable[[Box], None]) -> None:
        self._restart = restart

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        cv2.destroyAllWindows()

    def show(self, step: TrackStep) -> None:
        """Show one step and do what keys ask for; raises KeyboardInterrupt to end."""
        single = len(step.results) == 1
        drawn = draw_result(step.frame, step.result) if single else draw_results(step.frame, step.results)
        cv2.imshow(TITLE, drawn[..., ::-1])
        key = cv2.waitKey(1) & 0xFF
        while key == SPACE:  # paused until the next key
            key = cv2.waitKey(0) & 0xFF
            if key == SPACE:
                break
        if key == ord("s"):
            self._restart(select_box(step.frame))
        elif key in (ord("q"), ESCAPE):
            click.echo("ended by key", err=True)
            raise KeyboardInterrupt
