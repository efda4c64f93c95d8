"""The same two calls, ``encode`` and ``locate``, on each engine. Knows nothing of trackers or of any model.

OpenVINO and ONNX Runtime read one exported ONNX file, with inputs ``template`` and ``search``, and cut it in
two at its inner tensor ``features``. PyTorch runs the module itself. Opening a network imports its engine.
Crops are pixels or network input, see ``engines.preprocessing``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import CheckpointError, InputError, MissingDependencyError
from singletrack.install import install_command

if TYPE_CHECKING:
    from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
    from singletrack.engines.openvino_engine import OpenVINONetwork
    from singletrack.engines.preprocessing import Normalization

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PRECISION_ALIASES: dict[str, Precision] = {"f32": "fp32", "f16": "fp16", "float32": "fp32", "float16": "fp16"}
EXPORTED_ENDINGS = (".onnx", ".xml")  # of files that ``singletrack export`` writes; .xml has a .bin beside it
# the packages of the [train] extra, and the command that installs them
TRAIN_EXTRA = (("torch", "safetensors", "tensorboard", "onnx", "onnxscript"), install_command("train"))
# engine -> the packages that it needs, and the command that installs them
ENGINES: dict[str, tuple[tuple[str, ...], str]] = {
    "openvino": (("openvino",), "pip install openvino"),
    "onnx": (("onnxruntime", "onnx"), install_command("onnx")),
    "torch": (("torch", "safetensors"), TRAIN_EXTRA[1]),
}


def installed_engines() -> list[str]:
    """Names of the engines whose packages are installed, the preferred one first. Imports none of them."""
    return [engine for engine, (packages, _) in ENGINES.items() if all(map(find_spec, packages))]


def require_engine(engine: str) -> None:
    """Raise InputError for a name that is no engine, MissingDependencyError for one that is not installed."""
    if engine not in ENGINES:
        raise InputError(f"expected an engine among {', '.join(ENGINES)}; got {engine!r}; give one of these")
    require_packages(f"engine {engine}", *ENGINES[engine])


def require_packages(purpose: str, packages: tuple[str, ...], command: str) -> None:
    """Raise MissingDependencyError, with the command that helps, unless all packages are installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingDependencyError(
            f"expected the packages for {purpose}; got no {' and no '.join(missing)}; run: {command}"
        )


def open_network(
    engine: str,
    path: str | Path,
    device: str = "auto",
    threads: int | None = None,
    *,
    precision: Precision = "auto",
    normalization: Normalization | None = None,
    cache: Path | None = None,
) -> OpenVINONetwork | ONNXRuntimeNetwork:
    """The exported file at ``path`` on ``engine``, which is "openvino" or "onnx".

    threads: of the processor, 1 or more; None for the engine's own number.
    precision: that it computes in, among ``PRECISIONS``; "auto" for the engine's own choice.
    normalization: what the network wants done to pixels; None for ImageNet's.
    cache: folder in which the engine may keep what it compiled; None keeps nothing.

    Raises CheckpointError if the file is not an exported model, InputError for a device or precision that the
    engine does not have.
    """
    require_engine(engine)
    if engine == "openvino":
        from singletrack.engines.openvino_engine import OpenVINONetwork

        return OpenVINONetwork(
            path, device=device, precision=precision, threads=threads, normalization=normalization, cache=cache
        )
    if engine == "onnx":
        from singletrack.engines.onnx_engine import ONNXRuntimeNetwork

        return ONNXRuntimeNetwork(
            path, device=device, precision=precision, threads=threads, normalization=normalization, cache=cache
        )
    raise InputError(f"expected an engine that reads exported files; got {engine!r}; give openvino or onnx")


def unknown_device(engine: str, device: str, present: Iterable[str], install: str | None = None) -> InputError:
    """The error for a device that the engine does not have here. install: the command that might help."""
    return InputError(
        f"expected a device that {engine} has here; got {device!r}; give auto or {', '.join(present)}, "
        "or choose another engine" + (f"; or run: {install}" if install else "")
    )


def unknown_precision(engine: str, precision: str, known: Iterable[str]) -> InputError:
    """The error for a precision that the engine does not compute in here."""
    return InputError(
        f"expected a precision among {', '.join(known)} for {engine}; got {precision!r}; give one of these, "
        "or choose another engine"
    )


def unreadable(path: str | Path, reason: str) -> CheckpointError:
    """The error for a file that cannot be an exported model."""
    return CheckpointError(f"expected a file written by `singletrack export`; got {path}: {reason}; export it again")


def wrong_graph(path: str | Path, inputs: Iterable[str]) -> CheckpointError:
    """The error for a file that is another model's."""
    names = ", ".join(inputs) or "none"
    return unreadable(path, f"no inputs `template` and `search` and inner tensor `features`, but inputs {names}")


def one_by_one(
    run: Callable[[dict[str, Any]], dict[str, NDArray[Any]]], inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """What a graph that takes one crop at a time makes of several: each by itself, joined again."""
    rows = range(len(next(iter(inputs.values()))))
    parts = [run({name: values[row : row + 1] for name, values in inputs.items()}) for row in rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_ir(source: str | Path, path: str | Path) -> None:
    """Write an exported ONNX file as OpenVINO's own format: ``path``, which ends in .xml, and a .bin beside it.

    Raises MissingDependencyError without OpenVINO, CheckpointError if the file is not an exported model.
    """
    require_engine("openvino")
    from singletrack.engines import openvino_engine

    openvino_engine.write_ir(source, path)
