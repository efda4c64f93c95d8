"""Networks and processes: a network belongs to the process that opened it; pickled, it is opened anew elsewhere."""

from __future__ import annotations

import os
from typing import Any

from singletrack.errors import SingletrackError


class ProcessBound:
    """Base of the networks, whose engines keep threads and memory that no other process has.

    ``pickle`` writes down how the network was opened, and opens it again where it is read: use it to hand a tracker to
    a process that was started with "spawn". ``copy.deepcopy`` of a tracker shares the network, which keeps no state of
    a target. In a forked process every call raises SingletrackError: it would hang.
    """

    engine: str
    device: Any
    precision: str

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments
        self._process = os.getpid()

    def check_process(self) -> None:
        """Raise SingletrackError in a process that was forked from the one that opened the network."""
        if os.getpid() != self._process:
            raise forked(self.engine)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self._arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> ProcessBound:
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {str(self.device).lower()}, {self.precision}>"


def forked(engine: str) -> SingletrackError:
    """Return the error for a network that is used in a forked process."""
    return SingletrackError(
        f"a network on engine {engine} cannot be used in a process forked from the one that used it: its threads are "
        "not there; start processes with multiprocessing.get_context('spawn'), or load the model only in them"
    )


def _reopen(kind: type[ProcessBound], arguments: dict[str, Any]) -> ProcessBound:
    return kind(**arguments)
