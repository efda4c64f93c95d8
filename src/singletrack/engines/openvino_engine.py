"""Runs an exported ONNX file or IR on OpenVINO, the default engine, split at ``features``."""

from __future__ import annotations

import math
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.engines import (
    LARGEST_TENSOR,
    CheckGraph,
    Precision,
    check_limits,
    one_by_one,
    unknown_device,
    unknown_precision,
    unreadable,
    wrong_graph,
)
from singletrack.engines.beside import files_of
from singletrack.engines.cpu import allowed_cores, usable_cores
from singletrack.engines.preprocessing import CropArray, Normalization, channels_first
from singletrack.engines.processes import ProcessBound, forked
from singletrack.errors import CheckpointError, InputError
from singletrack.telemetry import without_telemetry

with without_telemetry():
    import openvino  # type: ignore[import-untyped]
    from openvino import opset13
    from openvino.preprocess import PrePostProcessor  # type: ignore[import-untyped]
    from openvino.properties import cache_dir, hint, inference_num_threads  # type: ignore[import-untyped]
    from openvino.properties import device as device_properties

FloatArray = NDArray[np.float32]
CROPS = ("template", "search")
METADATA = "framework"
MOST_KEPT = 2  # crops of a pass, up to which compiled networks are cached: one, or two for a tracker with ``mirror``

# One per process, never released. Each Core gives the thread that first uses it a signal stack. When two are released,
# the second restores the stack of the first, which may no longer exist, and the next signal that Python handles, such
# as Ctrl-C, ends the process with a segmentation fault (OpenVINO 2026.4).
CORE = openvino.Core()


TYPES = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16, "fp16": openvino.Type.f16}

_used_in: int | None = None  # the process in which the core began to compute; its threads are in no fork of it


class OpenVINONetwork(ProcessBound):
    """Runs an exported file with any batch size. It may be shared by trackers and threads.

    Fixed shapes run fastest. The model is compiled for one crop of pixels when it is opened, so that a live camera does
    not stall at its first frame, and for each other shape on first use.

    Args:
        path: the exported .onnx or .xml file.
        device: "auto" (the CPU) or an available OpenVINO device such as "GPU"; case does not matter.
        precision: "auto" is bf16 on CPUs with bf16 instructions, else fp32; on other devices it is the device's choice.
            "fp16" is for other devices.
        threads: CPU threads; None for one per usable core.
        normalization: normalization of pixels; None for that of ImageNet.
        cache: folder for compiled models; None disables the cache.
        check: called with the metadata and shapes before anything is compiled, to refuse a file.

    Attributes:
        metadata: metadata of the file: model name, keep ratio and sizes.

    Raises:
        CheckpointError: the file is not an exported model.
        InputError: the device is not available, or threads are given for another device than the CPU.
    """

    engine = "openvino"

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
        normalization: Normalization | None = None,
        cache: Path | None = None,
        check: CheckGraph | None = None,
    ) -> None:
        if _used_in not in (None, os.getpid()):
            raise forked(self.engine)
        super().__init__(
            path=path,
            device=device,
            precision=precision,
            threads=threads,
            normalization=normalization,
            cache=cache,
        )
        self.device = find_device(device)
        self.precision = self._choose_precision(precision)
        self._settings: dict[str, Any] = {hint.performance_mode(): hint.PerformanceMode.LATENCY}
        if threads is not None and self.device != "CPU":
            raise InputError(f"threads are for device cpu only; got device {self.device}; leave threads out")
        if self.device == "CPU" and (threads is not None or usable_cores() < allowed_cores()):
            self._settings[inference_num_threads()] = threads or usable_cores()
            # with pinning, two single-threaded processes share one core
            self._settings[hint.enable_cpu_pinning()] = False
        self._cache = cache
        self._normalization = normalization or Normalization()
        encoder, locator, self.metadata = read_halves(path)
        if check is not None:
            check(self.metadata, shapes_of(encoder, locator))
        self._halves = {"encode": encoder, "locate": locator}
        self._alone = not encoder.input(0).get_partial_shape()[0].is_dynamic  # batch size fixed at 1
        self._requests: dict[tuple[Any, ...], openvino.InferRequest] = {}
        self._lock = threading.Lock()
        try:
            try:
                self._prepare_all()
            except RuntimeError:
                # bf16 may be turned off although the processor has it, with ONEDNN_MAX_CPU_ISA for example
                if self.precision != "bf16":
                    raise
                self.precision, wanted = "fp32", self.precision
                self._prepare_all()
                if precision == wanted:
                    raise InputError(
                        f"expected a precision that OpenVINO can compile here; got {precision}; choose auto or fp32"
                    ) from None
        except RuntimeError as error:
            raise unreadable(path, f"OpenVINO cannot compile it ({last_line(error)})") from error

    def encode(self, template: CropArray) -> FloatArray:
        """Compute the features (B, Nt, C) of template crops, pixels or network input, batch first."""
        return self._infer("encode", {"template": template})["features"]

    def locate(self, features: FloatArray, search: CropArray) -> dict[str, FloatArray]:
        """Compute maps by name, batch first, from features and search crops (pixels or network input)."""
        return self._infer("locate", {"features": features, "search": search})

    def _infer(self, call: str, inputs: dict[str, Any]) -> dict[str, FloatArray]:
        self.check_process()
        if self._alone and len(next(iter(inputs.values()))) > 1:
            return one_by_one(partial(self._infer, call), inputs)
        kinds = {name: (values.shape, values.dtype == np.uint8) for name, values in inputs.items()}
        key = (call, *kinds.values())
        with self._lock:  # a request holds one inference at a time
            request = self._requests.get(key)
            if request is None:
                few = len(next(iter(inputs.values()))) <= MOST_KEPT
                request = self._requests[key] = self._compile(call, kinds, keep=few)
            # by position, because compiling changes the names of merged tensors
            names = (port.get_any_name() for port in self._halves[call].outputs)
            return dict(zip(names, request.infer(inputs, share_inputs=True).to_tuple(), strict=True))

    def _prepare_all(self) -> None:
        """Compile both halves, as far as their sizes are fixed, in ``precision``."""
        if self.precision != "auto":
            self._settings[hint.inference_precision()] = TYPES[self.precision]
        for call in self._halves:
            self._prepare(call)

    def _prepare(self, call: str) -> None:
        """Compile for one crop of pixels if the graph has a fixed crop size."""
        kinds: dict[str, tuple[tuple[int, ...], bool]] = {}
        for port in self._halves[call].inputs:
            _, *sizes = port.get_partial_shape()
            if any(size.is_dynamic for size in sizes):
                return
            shape = tuple(size.get_length() for size in sizes)
            name = port.get_any_name()
            kinds[name] = ((1, *shape[:-3], *shape[-2:], shape[-3]), True) if name in CROPS else ((1, *shape), False)
        order = ("template",) if call == "encode" else ("features", "search")  # in the order of the call
        kinds = {name: kinds[name] for name in order}
        self._requests[(call, *kinds.values())] = self._compile(call, kinds, keep=True)

    def _compile(
        self, call: str, kinds: dict[str, tuple[tuple[int, ...], bool]], *, keep: bool
    ) -> openvino.InferRequest:
        """Compile for fixed input shapes. ``kinds``: shape, and whether it is pixels, by input. ``keep``: cache it."""
        fixed = self._halves[call].clone()
        shapes = {name: channels_first(shape) if pixels else shape for name, (shape, pixels) in kinds.items()}
        fixed.reshape({name: list(shape) for name, shape in shapes.items()})
        entry = PrePostProcessor(fixed)
        for name, (shape, pixels) in kinds.items():
            if pixels:
                mean, std = self._normalization.of_channels(shape[-1])
                several = "D" * (len(shape) - 4)
                entry.input(name).tensor().set_element_type(openvino.Type.u8)
                entry.input(name).tensor().set_layout(openvino.Layout(f"N{several}HWC"))
                entry.input(name).model().set_layout(openvino.Layout(f"N{several}CHW"))
                entry.input(name).preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
        global _used_in
        _used_in = os.getpid()
        settings = dict(self._settings)
        # OpenVINO's own key lacks the precision: bf16 took what was compiled for fp32, and ran ten times slower
        if keep and self._cache is not None:
            settings[cache_dir()] = str(self._cache / self.precision)
        return CORE.compile_model(entry.build(), self.device, settings).create_infer_request()

    def _choose_precision(self, precision: Precision) -> Precision:
        known = ("auto", "fp32", "bf16") if self.device == "CPU" else ("auto", "fp32", "bf16", "fp16")
        if precision not in known:
            raise unknown_precision(f"OpenVINO on {self.device.lower()}", precision, known)
        if precision != "auto" or self.device != "CPU":
            return precision
        return "bf16" if "BF16" in CORE.get_property("CPU", device_properties.capabilities()) else "fp32"


def find_device(device: str) -> str:
    """Return the OpenVINO name of a device; raises InputError for an unavailable device."""
    asked = "CPU" if device.lower() == "auto" else device.upper()
    present = CORE.available_devices
    if asked not in present and f"{asked}.0" not in present:
        raise unknown_device("OpenVINO", device, present)
    return asked


def read_halves(path: str | Path) -> tuple[openvino.Model, openvino.Model, dict[str, str]]:
    """Read a file and split it at ``features``.

    Args:
        path: an .onnx file, or the .xml file of an IR.

    Returns:
        The halves (template -> features) and (features, search -> maps), and the metadata.
    """
    if not Path(path).is_file():
        raise unreadable(path, "the file does not exist")
    source = files_of(path)[0]
    try:
        whole = CORE.read_model(str(source))
        return *_cut(whole, path), read_metadata(whole)
    except CheckpointError:
        raise
    except Exception as error:  # arbitrary bytes can make OpenVINO fail in any way
        raise unreadable(path, f"OpenVINO cannot read it ({last_line(error)})") from error


def last_line(error: Exception) -> str:
    """The last line of an error of OpenVINO, which says what is wrong; those before say where in its own code."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _cut(whole: openvino.Model, path: str | Path) -> tuple[openvino.Model, openvino.Model]:
    inputs = {port.get_any_name(): port.get_node() for port in whole.inputs}
    nodes = whole.get_ordered_ops()
    check_limits(path, len(nodes), (node.get_type_name() for node in nodes))
    tensors: dict[str, openvino.Output] = {}
    for node in nodes:
        for port in node.outputs():
            shape = port.get_partial_shape()
            least = 1 if shape.rank.is_dynamic else math.prod(size.get_min_length() for size in shape)
            if least > LARGEST_TENSOR:
                raise unreadable(path, f"its graph makes a tensor of {least} values; at most {LARGEST_TENSOR} are made")
            for name in port.get_names():
                tensors[name] = port
        if node.get_type_name() == "Constant" and node.get_element_type() in (openvino.Type.f32, openvino.Type.f16):
            values = node.data
            if not (np.isfinite(values).all() if values.size > 1 else not np.isnan(values).any()):
                raise unreadable(path, f"its weights {node.get_friendly_name()} hold NaN or infinity")
    if not {"template", "search"} <= inputs.keys() or "features" not in tensors:
        raise wrong_graph(path, inputs)
    features = tensors["features"]
    encoder = openvino.Model([opset13.result(features)], [inputs["template"]]).clone()
    entry = opset13.parameter(features.get_partial_shape(), features.get_element_type(), name="features")
    for reader in list(features.get_target_inputs()):
        if reader.get_node().get_type_name() != "Result":
            reader.replace_source_output(entry.output(0))
    entry.output(0).set_names({"features"})
    features.set_names(set())
    locator = openvino.Model(whole.get_results(), [entry, inputs["search"]])
    return encoder, locator


def shapes_of(encoder: openvino.Model, locator: openvino.Model) -> dict[str, tuple[int | None, ...]]:
    """Sizes of the crops and of the maps."""
    shapes: dict[str, tuple[int | None, ...]] = {}
    for port in (*encoder.inputs, *(port for port in locator.inputs if "search" in port.get_names()), *locator.outputs):
        shape = port.get_partial_shape()
        sizes = () if shape.rank.is_dynamic else tuple(shape)
        for name in port.get_names():
            shapes[name] = tuple(None if size.is_dynamic else size.get_length() for size in sizes)
    return shapes


def read_metadata(model: openvino.Model) -> dict[str, str]:
    """Read the metadata of an exported ONNX file or IR."""
    if not model.has_rt_info(METADATA):
        return {}
    return {key: value.astype(str) for key, value in model.get_rt_info()[METADATA].items()}


def write_ir(source: str | Path, path: str | Path) -> None:
    """Convert an exported ONNX file to OpenVINO IR without changing the weights, see ``engines.write_ir``."""
    read_halves(source)
    openvino.save_model(CORE.read_model(str(files_of(source)[0])), str(path), compress_to_fp16=False)
