"""Optional packages of the extra `labels`: imported when a format needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from singletrack.errors import MissingDependencyError
from singletrack.install import install_command

NAMES = {"yaml": "PyYAML"}  # packages that are not called like their module


def require_package(module: str, purpose: str) -> Any:
    """The module; raises MissingDependencyError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise MissingDependencyError(
            f"{purpose} needs {NAMES.get(name, name)}, which is not installed; run: {install_command('labels')}"
        ) from error
