"""Keeps the usage reports of our dependencies off: nothing leaves the machine unless the user names an address."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# The switches that the packages themselves offer. A value that the user has set stays.
SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",  # which Trackio brings
    "HF_HUB_DISABLE_TELEMETRY": "1",  # the same
}
REPORTER = "openvino_telemetry"  # has no switch but a file in the home folder


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import a package that reports its use (OpenVINO, ONNX Runtime, NNCF, Ray, Trackio) inside this block.

    It then sends nothing and writes nothing to the home folder, in this process and in those that it starts.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    # OpenVINO and NNCF do without their reporter where it is not installed; None makes it look so while they load.
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    before = modules.get(REPORTER)
    modules[REPORTER] = None
    try:
        yield
    finally:
        if before is None:
            modules.pop(REPORTER, None)
        else:
            modules[REPORTER] = before
