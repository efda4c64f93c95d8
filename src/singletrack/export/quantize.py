"""Weights and activations of an exported graph as 8-bit integers, by NNCF's post-training quantization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from singletrack.engines import require_packages
from singletrack.engines.preprocessing import Normalization, as_network_input
from singletrack.export.calibration import CropPair
from singletrack.install import install_command
from singletrack.telemetry import without_telemetry

INT8_EXTRA = (("nncf",), install_command("int8"))


def quantize(graph: onnx.ModelProto, looks: Sequence[CropPair], normalization: Normalization) -> onnx.ModelProto:
    """The graph with pairs of QuantizeLinear and DequantizeLinear round what engines can compute in integers.

    looks: of real crops, one hundred or more; the ranges of all activations are measured on them.

    Raises MissingDependencyError without NNCF.
    """
    require_packages("8-bit integers", *INT8_EXTRA)
    with without_telemetry():
        import nncf  # type: ignore[import-not-found]

    inputs = [
        {
            name: np.ascontiguousarray(as_network_input(crop, normalization))
            for name, crop in zip(("template", "search"), look, strict=True)
        }
        for look in looks
    ]
    quantized: onnx.ModelProto = nncf.quantize(
        graph, nncf.Dataset(inputs), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(inputs)
    )
    return quantized
