"""A network on ONNX Runtime: an exported ONNX file, cut in two at ``features``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx.utils import Extractor

from singletrack.runtimes import unknown_device, unreadable, wrong_graph

FloatArray = NDArray[np.float32]


class ONNXRuntimeNetwork:
    """Runs an exported file, for any batch size.

    device: "auto" ("cuda" where the installed ONNX Runtime has it, else "cpu") or one it has, such as "dml".
    threads: None takes one for each core this process may use.
    metadata: what the export wrote into the file: the model's name, keep ratio and sizes.

    Several trackers may share one network, from several threads too. Raises CheckpointError if the file is
    not an exported model, InputError if there is no such device.
    """

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int | None = None) -> None:
        self.device, provider = find_provider(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3  # errors only
        encoder, locator, self.metadata = read_halves(path)
        self._encoder, self._locator = (
            onnxruntime.InferenceSession(half.SerializeToString(), options, providers=[provider])
            for half in (encoder, locator)
        )
        self._maps = [output.name for output in self._locator.get_outputs()]

    def encode(self, template: FloatArray) -> FloatArray:
        """Template crops, batch first, as the network takes them -> features (B, Nt, C)."""
        return cast(FloatArray, self._encoder.run(["features"], {"template": template})[0])

    def locate(self, features: FloatArray, search: FloatArray) -> dict[str, FloatArray]:
        """Features and search crops -> maps by name, the batch first."""
        values = self._locator.run(self._maps, {"features": features, "search": search})
        return dict(zip(self._maps, values, strict=True))


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_provider(device: str) -> tuple[str, str]:
    """Our name and ONNX Runtime's of the device; raises InputError, listing what there is."""
    providers = {
        provider.removesuffix("ExecutionProvider").lower(): provider
        for provider in onnxruntime.get_available_providers()
        if provider != "AzureExecutionProvider"  # calls a web service
    }
    asked = device.lower()
    if asked == "auto":
        asked = "cuda" if "cuda" in providers else "cpu"
    if asked not in providers:
        raise unknown_device("ONNX Runtime", device, providers)
    return asked, providers[asked]


def read_halves(path: str | Path) -> tuple[onnx.ModelProto, onnx.ModelProto, dict[str, str]]:
    """The file's two halves, template -> features and features, search -> maps, and its metadata."""
    if not Path(path).is_file():
        raise unreadable(path, "no such file")
    try:
        whole = onnx.load(str(path))
    except DecodeError as error:
        raise unreadable(path, f"not ONNX, or cut short ({error})") from error
    inputs = {value.name for value in whole.graph.input}
    made = {name for node in whole.graph.node for name in node.output}
    if inputs != {"template", "search"} or "features" not in made:
        raise wrong_graph(path, sorted(inputs))
    extractor = Extractor(whole)
    maps = [value.name for value in whole.graph.output]
    encoder = extractor.extract_model(["template"], ["features"])
    locator = extractor.extract_model(["features", "search"], maps)
    return encoder, locator, {entry.key: entry.value for entry in whole.metadata_props}
