"""Optional packages of the extra `labels`: imported when a format needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from singletrack.errors import MissingDependencyError
from singletrack.install import install_command


def require_package(module: str, purpose: str) -> Any:
    """The module; raises MissingDependencyError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package of {module}, which is not installed; run: {install_command('labels')}"
        ) from error
