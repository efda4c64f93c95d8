"""Networks on different engines, behind the two calls ``encode`` and ``locate``.

OpenVINO and ONNX Runtime read an exported ONNX file with the inputs ``template`` and ``search``, and split it at its
inner tensor ``features``. PyTorch runs the module itself. Opening a network imports its engine. Crops are pixels or
network input, see ``engines.preprocessing``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import CheckpointError, InputError, MissingDependencyError, show_value
from singletrack.install import install_command

if TYPE_CHECKING:
    from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
    from singletrack.engines.openvino_engine import OpenVINONetwork
    from singletrack.engines.preprocessing import Normalization

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PRECISION_ALIASES: dict[str, Precision] = {"f32": "fp32", "f16": "fp16", "float32": "fp32", "float16": "fp16"}
EXPORTED_ENDINGS = (".onnx", ".xml")  # of files from ``singletrack export``; .xml has a .bin next to it
# the packages of the [train] extra, and the command that installs them
TRAIN_EXTRA = (("torch", "safetensors", "tensorboard", "onnx", "onnxscript"), install_command("train"))
# engine -> its packages, and the command that installs them
ENGINES: dict[str, tuple[tuple[str, ...], str]] = {
    "openvino": (("openvino",), "pip install openvino"),
    "onnx": (("onnxruntime", "onnx"), install_command("onnx")),
    "torch": (("torch", "safetensors"), TRAIN_EXTRA[1]),
}

GPU_HELP = (  # the CPU builds know no GPU, and pip takes them for the same package
    "for NVIDIA GPUs install PyTorch with CUDA (see pytorch.org for the command), or ONNX Runtime with CUDA: "
    'pip uninstall onnxruntime; pip install onnx "onnxruntime-gpu[cuda,cudnn]"'
)


# Sizes of inputs and outputs of an exported file by their names, the batch first; None where the file leaves one open.
Shapes = Mapping[str, tuple[int | None, ...]]
# Raises SingletrackError for a file whose metadata and shapes are not those that are expected.
CheckGraph = Callable[[Mapping[str, str], Shapes], None]
# What a graph may have; those that `singletrack export` writes have a tenth of it. Larger ones take minutes to compile.
MOST_NODES = 20_000
LARGEST_TENSOR = 1 << 28  # values


def installed_engines() -> list[str]:
    """List the installed engines, preferred first, without importing them."""
    return [engine for engine, (packages, _) in ENGINES.items() if all(map(find_spec, packages))]


def require_engine(engine: str) -> None:
    """Raise InputError for an unknown engine, and MissingDependencyError for one that is not installed."""
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; choose one of {', '.join(ENGINES)}")
    require_packages(f"engine {engine}", *ENGINES[engine])


def require_packages(purpose: str, packages: tuple[str, ...], command: str) -> None:
    """Raise MissingDependencyError with the install command unless all packages are installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingDependencyError(f"{purpose} needs {' and '.join(missing)}, which is not installed; run: {command}")


def open_network(
    engine: str,
    path: str | Path,
    device: str = "auto",
    threads: int | None = None,
    *,
    precision: Precision = "auto",
    normalization: Normalization | None = None,
    cache: Path | None = None,
    check: CheckGraph | None = None,
) -> OpenVINONetwork | ONNXRuntimeNetwork:
    """Open an exported file on an engine.

    Args:
        engine: "openvino" or "onnx".
        path: the exported file.
        device: device name of the engine, or "auto".
        threads: CPU threads, at least 1; None for the default of the engine.
        precision: one of ``PRECISIONS``; "auto" for the choice of the engine.
        normalization: normalization of pixels; None for that of ImageNet.
        cache: folder for compiled models; None disables the cache.
        check: called with the metadata and shapes before anything is compiled, to refuse a file.

    Raises:
        CheckpointError: the file is not an exported model.
        InputError: the engine does not support the device or precision.
    """
    require_engine(engine)
    network: type[OpenVINONetwork] | type[ONNXRuntimeNetwork]
    if engine == "openvino":
        from singletrack.engines.openvino_engine import OpenVINONetwork

        network = OpenVINONetwork
    elif engine == "onnx":
        from singletrack.engines.onnx_engine import ONNXRuntimeNetwork

        network = ONNXRuntimeNetwork
    else:
        raise InputError(f"engine {engine!r} cannot read exported files; choose openvino or onnx")
    return network(
        path,
        device=device,
        precision=precision,
        threads=threads,
        normalization=normalization,
        cache=cache,
        check=check,
    )


def unknown_device(engine: str, device: str, present: Iterable[str], install: str | None = None) -> InputError:
    """Build the error for an unavailable device, with an install command that might help."""
    return InputError(
        f"{engine} has no device {device!r} here; choose auto or {', '.join(present)}, or another engine"
        + (f"; or run: {install}" if install else f"; {GPU_HELP}" if device.lower().startswith("cuda") else "")
    )


def unknown_precision(engine: str, precision: str, known: Iterable[str]) -> InputError:
    """Build the error for an unsupported precision."""
    return InputError(
        f"{engine} does not support precision {precision!r}; choose one of {', '.join(known)}, or another engine"
    )


def unreadable(path: str | Path, reason: str) -> CheckpointError:
    """Build the error for a file that is not an exported model."""
    return CheckpointError(f"{path} is not a file written by `singletrack export`: {reason}; export it again")


def wrong_graph(path: str | Path, inputs: Iterable[str]) -> CheckpointError:
    """Build the error for an ONNX or IR file of another kind."""
    names = ", ".join(inputs) or "none"
    return unreadable(
        path, f"it needs inputs `template` and `search` and an inner tensor `features`; its inputs are {names}"
    )


def check_shapes(path: str | Path, expected: Shapes, shapes: Shapes) -> None:
    """Raise CheckpointError, naming the first that differs, unless a file has these inputs and outputs, of these sizes.

    expected: as ``Shapes``; None takes any size.
    """
    missing = [name for name in expected if name not in shapes]
    if missing:
        raise unreadable(path, f"no {', '.join(missing)} among its inputs and outputs {', '.join(shapes) or '(none)'}")
    for name, sizes in expected.items():
        found = shapes[name]
        same = len(found) == len(sizes) and all(
            None in (wanted, size) or wanted == size for wanted, size in zip(sizes, found, strict=True)
        )
        if not same:
            wanted, got = (tuple("any" if size is None else size for size in each) for each in (sizes, found))
            raise unreadable(path, f"{name} has sizes {show_value(got)} where {show_value(wanted)} is expected")


def check_limits(path: str | Path, nodes: int, kinds: Iterable[str]) -> None:
    """Raise CheckpointError for a graph with too many nodes, or with nodes that run others again and again."""
    if nodes > MOST_NODES:
        raise unreadable(path, f"its graph has {nodes} nodes; at most {MOST_NODES} are compiled")
    loops = sorted({"Loop", "If", "Scan", "TensorIterator"}.intersection(kinds))
    if loops:
        raise unreadable(path, f"its graph has control flow ({', '.join(loops)})")


def one_by_one(
    run: Callable[[dict[str, Any]], dict[str, NDArray[Any]]], inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Run a graph with a fixed batch size of 1 on each row, and concatenate the outputs."""
    rows = range(len(next(iter(inputs.values()))))
    parts = [run({name: values[row : row + 1] for name, values in inputs.items()}) for row in rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_ir(source: str | Path, path: str | Path) -> None:
    """Convert an exported ONNX file to OpenVINO IR.

    Args:
        source: the exported ONNX file.
        path: output .xml file; a .bin file is written next to it.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
        CheckpointError: the source is not an exported model.
    """
    require_engine("openvino")
    from singletrack.engines import openvino_engine

    openvino_engine.write_ir(source, path)
