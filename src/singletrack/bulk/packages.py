"""The packages of the [bulk] extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from singletrack.errors import MissingDependencyError
from singletrack.install import install_command


def require_package(module: str) -> Any:
    """Import a module; raises MissingDependencyError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"tracking a library needs {module.split('.')[0]}, which is not installed; run: {install_command('bulk')}"
        ) from error
