"""The records of this repository: they are all here, hold no picture of ../shared, and equal the originals there."""

from __future__ import annotations

import numpy as np
import pytest
from tests.parity.records import DATA, SHARED

CONFIG = "vitb_256_mae_ce_32x4_ep300"
# record -> what was left out of the copy, by the beginning of its names: pictures, and boxes found in pictures
COPIES: dict[str, tuple[str, ...]] = {
    "dasiamrpn_SiamRPNvot": ("init_", "boxes_", "scores_", "avg_chans"),
    "metrics_got10k": (),
    "metrics_inputs": (),
    "metrics_ostrack": (),
    "metrics_pysot": (),
    f"ostrack_forward_{CONFIG}": ("real_",),
    "ostrack_heatmap": (),
    "ostrack_losses": (),
    f"ostrack_synthloop_{CONFIG}": (),
    f"ostrack_train_{CONFIG}": (),
    "pysot_synth_siamrpn_r50_l234_dwxcorr": (),
    "stark_forward_stark_st50": ("real_",),
    "stark_synthloop_stark_st50": (),
}


def test_all_are_here_and_small() -> None:
    files = sorted(DATA.glob("*.npz"))
    assert [path.stem for path in files] == list(COPIES)
    assert sum(path.stat().st_size for path in files) < 1_000_000


@pytest.mark.parametrize("name", COPIES)
def test_copies_equal_the_originals(name: str) -> None:
    if not (SHARED / f"{name}.npz").is_file():
        pytest.skip(f"needs ../shared/fixtures/{name}.npz, which is not part of the repository")
    with np.load(DATA / f"{name}.npz") as copy, np.load(SHARED / f"{name}.npz") as original:
        assert set(copy) == {key for key in original if not key.startswith(COPIES[name] or ("none",))}
        for key in copy:
            np.testing.assert_array_equal(copy[key], original[key], err_msg=key)
