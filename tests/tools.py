"""Packages that only some tests need."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import pytest

REQUIRED = "SINGLETRACK_REQUIRE_TOOLS"
LABEL_TOOLS = "pip install --no-deps -r tests/labeling/formats/tools.txt"


def need(module: str, install: str = LABEL_TOOLS) -> Any:
    """Import a module; skips the test without it.

    With SINGLETRACK_REQUIRE_TOOLS, the test fails instead if LABEL_TOOLS installs the module.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if os.environ.get(REQUIRED) and install == LABEL_TOOLS:
            return importlib.import_module(module)
        return pytest.importorskip(module, reason=f"needs {module}: {install}", exc_type=ImportError)
