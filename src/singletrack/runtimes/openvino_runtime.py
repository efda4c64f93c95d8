"""A network on OpenVINO, the default engine: an exported ONNX file, cut in two at ``features``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino  # type: ignore[import-untyped]
from numpy.typing import NDArray
from openvino import opset13
from openvino.properties import device as device_properties  # type: ignore[import-untyped]
from openvino.properties import hint, inference_num_threads

from singletrack.errors import InputError
from singletrack.runtimes import unknown_device, unreadable, wrong_graph

FloatArray = NDArray[np.float32]
Precision = Literal["auto", "f32", "bf16"]

# One for the process, and never dropped. Each Core gives the thread that first uses it a stack for signals. Of two,
# the second to be dropped gives back the stack of the first, which may be gone by then; and the next signal that
# Python handles, such as Ctrl-C, ends the process with a segmentation fault (OpenVINO 2026.4).
CORE = openvino.Core()


class OpenVINONetwork:
    """Runs an exported file. Compiled for one crop when opened, and once for each other batch size when met.

    Fixed shapes run fastest; and a camera must not stand still at its first frame while something compiles.

    device: "auto" (the processor) or a name that OpenVINO has here, such as "GPU"; upper or lower case.
    precision: "auto" is bf16 on a processor that computes in it and f32 on one that does not; on another kind
        of device, that device's own choice.
    threads: of the processor alone; None leaves the number to OpenVINO, which takes one for each core.
    metadata: what the export wrote into the file: the model's name, keep ratio and sizes.

    Several trackers may share one network, from several threads too. Raises CheckpointError if the file is
    not an exported model, InputError if there is no such device, or threads are asked of one that has none.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
    ) -> None:
        self.device = find_device(device)
        self.precision = self._choose_precision(precision)
        self._settings: dict[str, Any] = {hint.performance_mode(): hint.PerformanceMode.LATENCY}
        if self.precision != "auto":
            types = {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}
            self._settings[hint.inference_precision()] = types[self.precision]
        if threads is not None:
            if self.device != "CPU":
                raise InputError(
                    f"expected device cpu with a number of threads; got {self.device}; leave one of them out"
                )
            self._settings[inference_num_threads()] = threads
            # else two processes of one thread each would sit on the same core
            self._settings[hint.enable_cpu_pinning()] = False
        encoder, locator, self.metadata = read_halves(path)
        self._halves = {"encode": encoder, "locate": locator}
        self._requests = {(call, 1): self._compile(call, batch=1) for call in self._halves}
        self._lock = threading.Lock()

    def encode(self, template: FloatArray) -> FloatArray:
        """Template crops, batch first, as the network takes them -> features (B, Nt, C)."""
        return self._infer("encode", {"template": template})["features"]

    def locate(self, features: FloatArray, search: FloatArray) -> dict[str, FloatArray]:
        """Features and search crops -> maps by name, the batch first."""
        return self._infer("locate", {"features": features, "search": search})

    def _infer(self, call: str, inputs: dict[str, FloatArray]) -> dict[str, FloatArray]:
        batch = len(next(iter(inputs.values())))
        with self._lock:  # a request holds one inference at a time
            request = self._requests.get((call, batch))
            if request is None:
                request = self._requests[call, batch] = self._compile(call, batch)
            # by their order: compiling gives a tensor the names of those that it was merged with
            names = (port.get_any_name() for port in self._halves[call].outputs)
            return dict(zip(names, request.infer(inputs, share_inputs=True).to_tuple(), strict=True))

    def _compile(self, call: str, batch: int) -> openvino.InferRequest:
        fixed = self._halves[call].clone()
        shapes = {port.get_any_name(): port.get_partial_shape() for port in fixed.inputs}
        for shape in shapes.values():
            shape[0] = batch
        fixed.reshape(shapes)
        return CORE.compile_model(fixed, self.device, self._settings).create_infer_request()

    def _choose_precision(self, precision: Precision) -> Precision:
        if precision not in ("auto", "f32", "bf16"):
            raise InputError(f"expected a precision among auto, f32 and bf16; got {precision!r}; give one of these")
        if precision != "auto" or self.device != "CPU":
            return precision
        return "bf16" if "BF16" in CORE.get_property("CPU", device_properties.capabilities()) else "f32"


def find_device(device: str) -> str:
    """OpenVINO's name of the device; raises InputError, listing what there is."""
    asked = "CPU" if device.lower() == "auto" else device.upper()
    present = CORE.available_devices
    if asked not in present and f"{asked}.0" not in present:
        raise unknown_device("OpenVINO", device, present)
    return asked


def read_halves(path: str | Path) -> tuple[openvino.Model, openvino.Model, dict[str, str]]:
    """The file's two halves, template -> features and features, search -> maps, and its metadata."""
    if not Path(path).is_file():
        raise unreadable(path, "no such file")
    try:
        whole = CORE.read_model(str(path))
    except RuntimeError as error:
        raise unreadable(path, f"OpenVINO cannot read it ({str(error).strip().splitlines()[-1]})") from error
    inputs = {port.get_any_name(): port.get_node() for port in whole.inputs}
    tensors = {name: port for node in whole.get_ordered_ops() for port in node.outputs() for name in port.get_names()}
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
    results = whole.get_results()
    locator = openvino.Model(results, [entry, inputs["search"]])
    return encoder, locator, read_metadata(whole)


def read_metadata(model: openvino.Model) -> dict[str, str]:
    """The file's metadata properties, which OpenVINO keeps as run-time information."""
    if not model.has_rt_info("framework"):
        return {}
    return {key: value.astype(str) for key, value in model.get_rt_info()["framework"].items()}
