"""Quantizes an exported graph to 8-bit integers with the post-training quantization of NNCF."""

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
    """Quantize a graph by inserting pairs of QuantizeLinear and DequantizeLinear.

    Args:
        graph: the exported graph.
        looks: at least a hundred realistic crops, on which the ranges of all activations are measured.
        normalization: normalization of pixels.

    Raises:
        MissingDependencyError: NNCF is not installed.
    """
    require_packages("8-bit quantization", *INT8_EXTRA)
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
