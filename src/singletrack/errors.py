"""The exceptions of singletrack.

    SingletrackError
    ├── InputError              also a ValueError: an invalid box, frame or setting
    ├── VideoError              a source that cannot be opened, read or written
    │   ├── MissingVideoError   also an InputError: a source that is not there
    │   └── DamagedVideoError   a source that is readable up to some frame; the results so far are kept
    ├── CheckpointError         weights that do not fit the model, are truncated, or are unsafe to read
    ├── ProjectError            a label project that is in use, damaged or of another video
    ├── ExportError             an exported graph whose numbers differ from the network
    └── MissingDependencyError  also an ImportError: an optional dependency is not installed

Each message says what was expected, what was given and what to do next.
"""

from __future__ import annotations

import re
import reprlib

# Parts of a message may come from a file or from the user: it stays readable and safe to print on a terminal.
LONGEST_MESSAGE = 2000
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class SingletrackError(Exception):
    """Base of all errors raised on purpose; catch this one to catch them all.

    A message of more than ``LONGEST_MESSAGE`` characters is shortened in its middle; control characters are escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(bound_message(message))


def bound_message(message: str) -> str:
    """The message, shortened in its middle to ``LONGEST_MESSAGE`` characters, with control characters escaped."""
    if len(message) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2 - 3
        message = f"{message[:half]} ... {message[-half:]}"
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", message)


def show_value(value: object) -> str:
    """A short text for any value in a message, whatever it holds."""
    try:
        return reprlib.repr(value)
    except Exception:  # an object's own repr may do anything
        return f"a {type(value).__name__}"


class InputError(SingletrackError, ValueError):
    """An invalid box, frame, name or setting."""


class VideoError(SingletrackError):
    """A video source or target that cannot be opened, read or written."""


class MissingVideoError(VideoError, InputError):
    """There is no such video, picture or folder of frames."""


class DamagedVideoError(VideoError):
    """A video that decodes only up to some frame; everything before it was delivered."""


class CheckpointError(SingletrackError):
    """Weights that do not fit the model, are cut short, or are unsafe to read."""


class ProjectError(SingletrackError):
    """A label project that another program has open, that is damaged, or that belongs to another video."""


class ExportError(SingletrackError):
    """A written graph whose numbers differ from the network's by more than the tolerance."""


class MissingDependencyError(SingletrackError, ImportError):
    """An optional part is not installed; the message gives the command that installs it."""


def reason_of(error: Exception) -> str:
    """What went wrong, in words: the system's for its errors, without their number and path."""
    return str(getattr(error, "strerror", None) or error)
