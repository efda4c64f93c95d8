"""Maps, survivors and boxes of OSTrack against those recorded from the published code."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from tests.parity.conftest import Frames, PublishedOSTrack, random_inputs
from tests.parity.deterministic import checksum, make_tensor
from tests.parity.records import Record, Recorded, with_part
from torch import Tensor

from singletrack.geometry.crops import normalize, square_crop
from singletrack.geometry.windows import hann_window
from singletrack.models.layers.center_head import decode
from singletrack.models.layers.pos_embed import resize_positions, template_rows
from singletrack.models.ostrack import Trace

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

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


@pytest.fixture(scope="module")
def record(ostrack: PublishedOSTrack, recorded: Recorded) -> Record:
    return recorded(f"ostrack_forward_{ostrack.config}")


def test_weights_and_input_are_those_of_the_record(record: Record, ostrack: PublishedOSTrack) -> None:
    assert checksum(ostrack.weights) == record["weights_crc"]
    crcs = [zlib.crc32(tensor.numpy().tobytes()) for tensor in random_inputs(ostrack.size)]
    assert crcs == record["input_crc"].tolist()


@pytest.mark.parametrize("case", CASES)
def test_forward(case: str, record: Record, ostrack: PublishedOSTrack) -> None:
    if not ostrack.eliminates and case not in ("rand", "real"):
        pytest.skip("recorded only of networks that eliminate tokens")
    rows, ratio = CASES[case]
    template, search = random_inputs(ostrack.size)
    if case == "real":
        with_part(record, "real_search_u8")
        template = torch.from_numpy(normalize(record["real_template_u8"], MEAN, STD))
        search = torch.from_numpy(normalize(record["real_search_u8"], MEAN, STD))
    trace = Trace()
    model, cells = ostrack.model, ostrack.size // 32
    before = model.backbone.template_rows
    model.backbone.template_rows = template_rows(cells, rows)  # type: ignore[arg-type]
    try:
        with torch.inference_mode():
            maps = model(template, search, None if ratio is None else [ratio] * 3, trace)
            boxes = decode(maps)
    finally:
        model.backbone.template_rows = before
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
        zeros = trace.tokens[:, cells * cells :].gather(1, gone[..., None].expand(-1, -1, 768))
        assert not zeros.any()
        assert gone.shape[1] + trace.kept[block].shape[1] == 4 * cells * cells
    assert bool(eliminating) == (ostrack.eliminates and case != "rate100")


def test_template_rows(record: Record, ostrack: PublishedOSTrack) -> None:
    for name, rows in (("ctr_point_mask", "point"), ("ctr_rec_mask", "rectangle")):
        if name in record:
            expected = np.flatnonzero(record[name]).tolist()
            assert template_rows(ostrack.size // 32, rows).tolist() == expected  # type: ignore[arg-type]


def test_template_rows_of_other_grids() -> None:
    assert template_rows(12, "point").tolist() == [65]
    assert template_rows(7, "point").tolist() == template_rows(7, "rectangle").tolist() == [24]
    assert template_rows(14, "point").tolist() == [6 * 14 + 6]


def test_position_embeddings_of_both_sizes(recorded: Recorded) -> None:
    record = recorded("ostrack_posembed")
    source = make_tensor("backbone.pos_embed", (1, 197, 768))[:, 1:]
    for name, grid in (("z_256", 8), ("x_256", 16), ("z_384", 12), ("x_384", 24)):
        close(resize_positions(source, grid)[..., ::24], record[name], 1e-6)


def test_crops_and_tensors_of_the_real_case(record: Record, ostrack: PublishedOSTrack, frames: Frames) -> None:
    with_part(record, "real_search_u8")
    box, size = (308, 135, 115, 119), ostrack.size
    template, template_scale = square_crop(frames["loop"](0), box, factor=2.0, size=size // 2)
    search, _ = square_crop(frames["loop"](1), box, factor=ostrack.search_factor, size=size)
    np.testing.assert_array_equal(template, record["real_template_u8"])
    np.testing.assert_array_equal(search, record["real_search_u8"])
    assert template_scale == record["real_resize_factor"][0]


@pytest.mark.parametrize("sequence", ["loop", "synthloop"])
def test_window(recorded: Recorded, ostrack: PublishedOSTrack, sequence: str) -> None:
    window = recorded(f"ostrack_{sequence}_{ostrack.config}")["window"][0, 0]
    np.testing.assert_allclose(hann_window(ostrack.size // 16), window, atol=1e-7)
