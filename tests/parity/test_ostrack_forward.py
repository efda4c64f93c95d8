"""Maps, survivors and boxes of OSTrack-256 against those recorded from the published code."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from singletrack.geometry.crops import normalize, square_crop
from singletrack.geometry.windows import hann_window
from singletrack.models.layers.center_head import decode
from singletrack.models.layers.pos_embed import resize_positions, template_rows
from singletrack.models.ostrack import OSTrack, Trace

FORWARD = "ostrack_forward_vitb_256_mae_ce_32x4_ep300"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Recorded = Callable[[str], Mapping[str, np.ndarray]]

# prefix of the recorded numbers -> template rows that rank, keep ratio
CASES = {
    "rand": ("point", None),
    "real": ("point", None),
    "rate100": ("point", 1.0),
    "rate085": ("point", 0.85),
    "maskALL": ("all", None),
    "maskREC": ("rectangle", None),
}


def close(got: Tensor | np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(
        np.asarray(got), expected, rtol=0, atol=tolerance * max(1.0, float(np.abs(expected).max()))
    )


def test_weights_and_input_are_those_of_the_record(
    recorded: Recorded,
    detweights: ModuleType,
    weights_256: dict[str, Tensor],
    inputs_256: tuple[Tensor, Tensor],
) -> None:
    record = recorded(FORWARD)
    assert detweights.checksum(weights_256) == record["weights_crc"]
    assert [zlib.crc32(tensor.numpy().tobytes()) for tensor in inputs_256] == record["input_crc"].tolist()


@pytest.mark.parametrize("case", CASES)
def test_forward(case: str, recorded: Recorded, model_256: OSTrack, inputs_256: tuple[Tensor, Tensor]) -> None:
    record = recorded(FORWARD)
    rows, ratio = CASES[case]
    template, search = inputs_256
    if case == "real":
        template = torch.from_numpy(normalize(record["real_template_u8"], MEAN, STD))
        search = torch.from_numpy(normalize(record["real_search_u8"], MEAN, STD))
    trace = Trace()
    before = model_256.backbone.template_rows
    model_256.backbone.template_rows = template_rows(8, rows)  # type: ignore[arg-type]
    try:
        with torch.inference_mode():
            maps = model_256(template, search, None if ratio is None else [ratio] * 3, trace)
            boxes = decode(maps)
    finally:
        model_256.backbone.template_rows = before
    close(maps["score"][:, None], record[f"{case}_score_map"])
    close(maps["size"], record[f"{case}_size_map"])
    close(maps["offset"], record[f"{case}_offset_map"])
    close(boxes[:, None], record[f"{case}_pred_boxes"])
    assert trace.tokens is not None
    close(trace.tokens[:, ::7, :16], record[f"{case}_feat_slice"])
    close(torch.stack([block.abs().mean() for block in trace.blocks]), record[f"{case}_block_absmean"])
    eliminating = [block for block in (3, 6, 9) if f"{case}_ce{block}_kept" in record]
    assert list(trace.kept) == list(trace.removed) == eliminating
    for block in eliminating:
        np.testing.assert_array_equal(trace.kept[block], record[f"{case}_ce{block}_kept"])
        np.testing.assert_array_equal(trace.removed[block], record[f"{case}_ce{block}_removed"])
        close(trace.scores[block], record[f"{case}_ce{block}_scores"], 1e-6)
    for block in eliminating[-1:]:  # what was removed comes back as exact zeros, not as normalized ones
        gone = torch.cat(list(trace.removed.values()), 1)
        zeros = trace.tokens[:, 64:].gather(1, gone[..., None].expand(-1, -1, 768))
        assert not zeros.any()
        assert gone.shape[1] + trace.kept[block].shape[1] == 256


def test_template_rows(recorded: Recorded) -> None:
    record = recorded(FORWARD)
    for name, rows in (("ctr_point_mask", "point"), ("ctr_rec_mask", "rectangle")):
        assert template_rows(8, rows).tolist() == np.flatnonzero(record[name]).tolist()  # type: ignore[arg-type]
    assert template_rows(12, "point").tolist() == [65]
    assert template_rows(7, "point").tolist() == template_rows(7, "rectangle").tolist() == [24]
    assert template_rows(14, "point").tolist() == [6 * 14 + 6]


def test_position_embeddings_of_both_sizes(recorded: Recorded, detweights: ModuleType) -> None:
    record = recorded("ostrack_posembed")
    source = detweights.det_tensor("backbone.pos_embed", (1, 197, 768))[:, 1:]
    for name, grid in (("z_256", 8), ("x_256", 16), ("z_384", 12), ("x_384", 24)):
        close(resize_positions(source, grid)[..., ::24], record[name], 1e-6)


def test_crops_and_tensors_of_the_real_case(recorded: Recorded, frames: dict[str, Callable[[int], np.ndarray]]) -> None:
    record = recorded(FORWARD)
    box = (308, 135, 115, 119)
    template, template_scale = square_crop(frames["loop"](0), box, factor=2.0, size=128)
    search, _ = square_crop(frames["loop"](1), box, factor=4.0, size=256)
    np.testing.assert_array_equal(template, record["real_template_u8"])
    np.testing.assert_array_equal(search, record["real_search_u8"])
    assert template_scale == record["real_resize_factor"][0]


@pytest.mark.parametrize("sequence", ["loop", "synthloop"])
def test_window(recorded: Recorded, sequence: str) -> None:
    window = recorded(f"ostrack_{sequence}_vitb_256_mae_ce_32x4_ep300")["window"][0, 0]
    np.testing.assert_allclose(hann_window(16), window, atol=1e-7)
