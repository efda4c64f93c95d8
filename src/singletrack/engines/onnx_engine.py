"""Runs an exported ONNX file on ONNX Runtime, split at ``features``."""

from __future__ import annotations

import math
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.utils import Extractor

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
from singletrack.engines.cpu import usable_cores
from singletrack.engines.preprocessing import CropArray, Normalization, channels_first_order
from singletrack.engines.processes import ProcessBound
from singletrack.errors import CheckpointError
from singletrack.telemetry import without_telemetry

with without_telemetry():
    import onnxruntime  # type: ignore[import-untyped]

FloatArray = NDArray[np.float32]
Provider = tuple[str, dict[str, str]]
ALL_PROVIDERS: list[str] = onnxruntime.get_all_providers()
INSTALL = {
    "cuda": 'pip install onnxruntime-gpu (in place of onnxruntime), with CUDA and cuDNN: "onnxruntime-gpu[cuda,cudnn]"',
    "tensorrt": "pip install onnxruntime-gpu tensorrt (the first in place of onnxruntime)",
}


class ONNXRuntimeNetwork(ProcessBound):
    """Runs an exported file with any batch size. It may be shared by trackers and threads.

    Args:
        path: the exported .onnx file.
        device: "auto" ("cuda" if ONNX Runtime supports it here, else "cpu"), "tensorrt" (which builds an engine for
            each new shape, taking minutes), or another available device such as "dml".
        precision: "auto" is fp32, with TensorFloat-32 on CUDA; "fp32" is without; "fp16" and "bf16" need TensorRT.
        threads: CPU threads; None for one per usable core.
        normalization: normalization of pixels; None for that of ImageNet.
        cache: folder for TensorRT engines; None disables the cache.
        check: called with the metadata and shapes before anything is compiled, to refuse a file.

    Attributes:
        metadata: metadata of the file: model name, keep ratio and sizes.

    Raises:
        CheckpointError: the file is not an exported model.
        InputError: the device or precision is not available.
    """

    engine = "onnx"

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
        super().__init__(
            path=path,
            device=device,
            precision=precision,
            threads=threads,
            normalization=normalization,
            cache=cache,
        )
        self.device, present = find_provider(device)
        known = ("auto", "fp32", "bf16", "fp16") if self.device == "tensorrt" else ("auto", "fp32")
        if precision not in known:
            raise unknown_precision(f"ONNX Runtime on {self.device}", precision, known)
        self.precision = "fp32" if precision == "auto" else precision
        self._providers = providers_for(self.device, present, precision, cache)
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads or usable_cores()
        self._options.log_severity_level = 3  # errors only
        self._normalization = normalization or Normalization()
        encoder, locator, self.metadata = read_halves(path)
        if check is not None:
            check(self.metadata, shapes_of(encoder, locator))
        self._halves = {"template": encoder, "search": locator}
        self._sessions: dict[tuple[str, bool], Any] = {}
        self._lock = threading.Lock()
        self._alone = locator.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1  # batch size fixed at 1
        self._maps = [output.name for output in locator.graph.output]
        try:
            for crop in self._halves:
                self._session(crop, pixels=True)
        except Exception as error:  # ONNX Runtime has an error of its own for each kind of graph it refuses
            raise unreadable(path, f"ONNX Runtime cannot compile it ({error})") from error

    def encode(self, template: CropArray) -> FloatArray:
        """Compute the features (B, Nt, C) of template crops, pixels or network input, batch first."""
        return self._run("template", ["features"], {"template": template})["features"]

    def locate(self, features: FloatArray, search: CropArray) -> dict[str, FloatArray]:
        """Compute maps by name, batch first, from features and search crops (pixels or network input)."""
        return self._run("search", self._maps, {"search": search, "features": features})

    def _run(self, crop: str, outputs: list[str], inputs: dict[str, Any]) -> dict[str, FloatArray]:
        self.check_process()
        if self._alone and len(inputs[crop]) > 1:
            return one_by_one(partial(self._run, crop, outputs), inputs)
        values = self._session(crop, inputs[crop].dtype == np.uint8).run(outputs, inputs)
        return dict(zip(outputs, values, strict=True))

    def _session(self, crop: str, pixels: bool) -> Any:
        """Return the session for this crop, created on first use."""
        with self._lock:
            if (crop, pixels) not in self._sessions:
                half = self._halves[crop]
                half = take_pixels(half, crop, self._normalization) if pixels else half
                self._sessions[crop, pixels] = onnxruntime.InferenceSession(
                    half.SerializeToString(), self._options, providers=self._providers
                )
            return self._sessions[crop, pixels]


def find_provider(device: str) -> tuple[str, list[str]]:
    """Return the device name and all available names; raises InputError for an unavailable device."""
    present = [
        provider.removesuffix("ExecutionProvider").lower()
        for provider in onnxruntime.get_available_providers()
        if provider != "AzureExecutionProvider"  # calls a web service
    ]
    asked = device.lower()
    if asked == "auto":
        asked = "cuda" if "cuda" in present else "cpu"
    if asked not in present:
        raise unknown_device("ONNX Runtime", device, present, INSTALL.get(asked))
    return asked, present


def providers_for(device: str, present: list[str], precision: Precision, cache: Path | None) -> list[Provider]:
    """Return the providers of ONNX Runtime with options, in order of preference."""
    names = {provider.removesuffix("ExecutionProvider").lower(): provider for provider in ALL_PROVIDERS}
    options: dict[str, dict[str, str]] = {
        "cuda": {"use_tf32": "0" if precision == "fp32" else "1"},
        "tensorrt": {
            "trt_fp16_enable": str(precision == "fp16"),
            "trt_bf16_enable": str(precision == "bf16"),
            **({} if cache is None else {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(cache)}),
        },
    }
    # each falls back to the next
    chain = ["tensorrt", "cuda", "cpu"] if device == "tensorrt" else [device, "cpu"]
    return [(names[each], options.get(each, {})) for each in dict.fromkeys(chain) if each in present]


def take_pixels(half: onnx.ModelProto, crop: str, normalization: Normalization) -> onnx.ModelProto:
    """Copy a graph with its input ``crop`` replaced by uint8 pixels, channels last, and their normalization."""
    model = onnx.ModelProto()
    model.CopyFrom(half)
    graph = model.graph
    (entry,) = (value for value in graph.input if value.name == crop)
    sizes = [size.dim_param or size.dim_value for size in entry.type.tensor_type.shape.dim]
    order = channels_first_order(len(sizes))
    back = [order.index(axis) for axis in range(len(sizes))]
    mean, std = normalization.of_channels(int(sizes[-3]))
    entry.CopyFrom(helper.make_tensor_value_info(crop, onnx.TensorProto.UINT8, [sizes[axis] for axis in back]))
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == crop:
                node.input[index] = f"{crop}.normalized"
    steps = [
        helper.make_node("Cast", [crop], [f"{crop}.float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", [f"{crop}.float", f"{crop}.mean"], [f"{crop}.centered"]),
        helper.make_node("Div", [f"{crop}.centered", f"{crop}.std"], [f"{crop}.scaled"]),
        helper.make_node("Transpose", [f"{crop}.scaled"], [f"{crop}.normalized"], perm=order),
    ]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*steps, *nodes])
    for name, values in (("mean", mean), ("std", std)):
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), f"{crop}.{name}"))
    return model


def read_halves(path: str | Path) -> tuple[onnx.ModelProto, onnx.ModelProto, dict[str, str]]:
    """The file's two halves, template -> features and features, search -> maps, and its metadata."""
    if not Path(path).is_file():
        raise unreadable(path, "no such file")
    if Path(path).suffix == ".xml":
        raise unreadable(path, "ONNX Runtime reads .onnx, and OpenVINO both")
    source, *beside = files_of(path)
    try:
        whole = onnx.load(str(source), load_external_data=False)
        for file in beside:
            _take_weights(whole, file)
        _check(whole, path)
        extractor = Extractor(whole)
        maps = [value.name for value in whole.graph.output]
        encoder = extractor.extract_model(["template"], ["features"])
        locator = extractor.extract_model(["features", "search"], maps)
    except CheckpointError:
        raise
    except DecodeError as error:
        raise unreadable(path, f"not ONNX, or cut short ({error})") from error
    except Exception as error:  # arbitrary graphs can make onnx fail in any way
        raise unreadable(path, f"onnx cannot read it ({type(error).__name__}: {error})") from error
    return encoder, locator, {entry.key: entry.value for entry in whole.metadata_props}


def _take_weights(model: onnx.ModelProto, beside: Path) -> None:
    """Read the weights that ``files_of`` found beside a file. That of onnx reads none that have links, as uv makes."""
    with beside.open("rb") as stream:
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                place = {entry.key: int(entry.value) for entry in tensor.external_data if entry.key != "location"}
                stream.seek(place["offset"])
                tensor.raw_data = stream.read(place["length"])
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]


def _check(model: onnx.ModelProto, path: str | Path) -> None:
    """Raise CheckpointError for a graph that is no export, or that would take long or much memory to compile."""
    graph = model.graph
    inputs = {value.name for value in graph.input}
    made = {name for node in graph.node for name in node.output}
    if inputs != {"template", "search"} or "features" not in made:
        raise wrong_graph(path, sorted(inputs))
    check_limits(path, len(graph.node), (node.op_type for node in graph.node))
    if model.functions:
        raise unreadable(path, "its graph has functions of its own")
    for tensor in [
        *graph.initializer,
        *(attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")),
    ]:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise unreadable(path, f"its weights {tensor.name} lie in another file")
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            if math.prod(tensor.dims) * 2 > tensor.ByteSize():  # in 2 or 4 bytes each
                raise unreadable(path, f"its weights {tensor.name} are not complete")
            values = numpy_helper.to_array(tensor)
            if not (np.isfinite(values).all() if values.size > 1 else not np.isnan(values).any()):
                raise unreadable(path, f"its weights {tensor.name} hold NaN or infinity")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        least = math.prod(size.dim_value or 1 for size in value.type.tensor_type.shape.dim)
        if least > LARGEST_TENSOR:
            raise unreadable(path, f"its graph makes a tensor of {least} values; at most {LARGEST_TENSOR} are made")


def shapes_of(encoder: onnx.ModelProto, locator: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Sizes of the crops and of the maps."""
    search = (value for value in locator.graph.input if value.name == "search")
    return {
        value.name: tuple(size.dim_value or None for size in value.type.tensor_type.shape.dim)
        for value in (*encoder.graph.input, *search, *locator.graph.output)
    }
