"""OpenCV, from whichever of its packages is installed; without it, an error that names the command.

Four packages on PyPI install one and the same module, ``cv2``, into one and the same folder. A package that depends on
one of them makes pip write over the one that a user already has: windows or trackers vanish. So singletrack depends on
none, and takes what is there. docs/opencv.md gives the reasons.

Import it from here: ``from singletrack.opencv import cv2``. Importing never fails; the first use does,
with a MissingDependencyError, where OpenCV is absent or damaged.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any, NoReturn

from singletrack.errors import MissingDependencyError

if TYPE_CHECKING:
    import cv2 as cv2

PACKAGES = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
INSTALL = "pip install opencv-python-headless"


class MissingOpenCV:
    """Stands in for ``cv2``; every use raises MissingDependencyError with the problem and its cure."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingDependencyError(self.problem)


def installed_packages() -> dict[str, str]:
    """Name -> version of each package of OpenCV that pip knows to be installed."""
    distributions = (next(iter(importlib.metadata.distributions(name=name)), None) for name in PACKAGES)
    return {each.metadata["Name"]: each.version for each in distributions if each is not None}


def find_problem(module: Any) -> str | None:
    """Why ``cv2`` cannot be used, and what to do; None if it can. module: as imported, or the ImportError."""
    packages = list(installed_packages())
    if not packages and isinstance(module, ModuleNotFoundError):
        return (
            "expected OpenCV; got none of its packages; "
            f"run: {INSTALL} (or opencv-python, opencv-contrib-python: any of them serves)"
        )
    names = " and ".join(packages) or "a package that pip does not know"
    reinstall = f"pip install --force-reinstall --no-deps {packages[-1] if packages else 'opencv-python-headless'}"
    others = "".join(f"pip uninstall --yes {name}; " for name in packages[:-1])
    if isinstance(module, ModuleNotFoundError) or not (isinstance(module, ImportError) or hasattr(module, "resize")):
        return (
            f"expected OpenCV; got a damaged module cv2 of {names}: removing one package of OpenCV removes files of "
            f"the others; run: {others}{reinstall}"
        )
    if isinstance(module, ImportError):
        reason = " ".join(str(module).split())
        cure = (
            "run: pip uninstall --yes opencv-python opencv-contrib-python; " + INSTALL
            if "lib" in reason and ".so" in reason
            else f"run: {others}{reinstall}"
        )
        return f"expected OpenCV; {names} cannot be imported: {reason}; {cure}"
    return None


def find_conflict() -> str | None:
    """What to know where several packages of OpenCV are installed, though ``cv2`` works; None for one."""
    packages = installed_packages()
    if len(packages) < 2:
        return None
    names = " and ".join(f"{name} {version}" for name, version in packages.items())
    return (
        f"{names} share one module cv2: the one installed last is used, and removing one damages the other; "
        f"to keep one: pip uninstall --yes {' '.join(packages)}; pip install the one you want"
    )


def load() -> Any:
    """The module ``cv2``, or a stand-in for it."""
    module: Any
    try:
        module = importlib.import_module("cv2")
    except ImportError as error:
        module = error
    problem = find_problem(module)
    return module if problem is None else MissingOpenCV(problem)


def require() -> None:
    """Raise MissingDependencyError, with the cure, where OpenCV is absent or damaged."""
    if isinstance(cv2, MissingOpenCV):
        raise MissingDependencyError(cv2.problem)


if not TYPE_CHECKING:
    cv2 = load()
