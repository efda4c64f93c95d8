"""What an inspection shows is what the network computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from singletrack.errors import InputError
from singletrack.geometry.crops import fill_boxes
from singletrack.models.configs import AlignedConfig, OSTrackConfig, RelationConfig, SiamRPNConfig, STARKConfig
from singletrack.models.inspection import inspect_pair
from singletrack.models.ostrack import Trace, build_ostrack
from singletrack.models.siamrpn import build_siamrpn
from singletrack.models.stark import build_stark
from singletrack.models.two_stream import build_aligned

SMALL = OSTrackConfig(
    template_size=64,
    search_size=128,
    width=24,
    depth=4,
    heads=2,
    drop_path=0.0,
    eliminate_in=(1, 2),
    keep_ratio=0.5,
    head_channels=16,
)
RELATION = RelationConfig(width=16, heads=2, hidden=16, encoder_layers=2, decoder_layers=1)


def pixels(size: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, channels, size, size)).astype(np.float32)


def unchanged(crops: Tensor) -> Tensor:
    return crops


def test_one_stream() -> None:
    torch.manual_seed(0)
    network = build_ostrack(SMALL).eval()
    template, search = pixels(64), pixels(128, seed=1)
    found = inspect_pair(network, unchanged, template, search)
    trace = Trace(listen=(0, 1, 2, 3))
    with torch.inference_mode():
        maps = network(torch.from_numpy(template), torch.from_numpy(search), trace=trace)
        plain = network(torch.from_numpy(template), torch.from_numpy(search))
    for index in range(4):
        np.testing.assert_allclose(found.attention[f"block {index}"].ravel(), trace.attention[index][0], atol=1e-6)
    assert found.eliminated is not None
    assert found.eliminated.shape == (8, 8)
    assert [int((found.eliminated == stage).sum()) for stage in (0, 1, 2)] == [16, 32, 16]
    assert set(np.flatnonzero(found.eliminated == 1)) == set(trace.removed[1][0].tolist())
    # an eliminated token has attention up to the block that drops it, and no activation from there on
    gone = found.eliminated == 1
    assert (found.attention["block 1"][gone] > 0).all()
    assert (found.attention["block 2"][gone] == 0).all()
    assert (found.activation["block 0"] > 0).all()
    assert ((found.activation["block 1"] == 0) == gone).all()
    for name in ("score", "size", "offset"):
        np.testing.assert_array_equal(found.maps[name], maps[name][0])
        np.testing.assert_allclose(found.maps[name], plain[name][0], atol=1e-5)
    assert not any(block.attn._forward_pre_hooks for block in network.backbone.blocks)
    assert set(found.arrays()) >= {"attention/block 0", "activation/block 3", "maps/score", "eliminated"}


def test_another_token_changes_what_is_shown_and_not_what_is_computed() -> None:
    torch.manual_seed(0)
    network = build_ostrack(SMALL).eval()
    template, search = pixels(64), pixels(128, seed=1)
    one, other = (inspect_pair(network, unchanged, template, search, token) for token in (None, (0, 3)))
    assert not np.allclose(one.attention["block 0"], other.attention["block 0"])
    np.testing.assert_array_equal(one.maps["score"], other.maps["score"])
    np.testing.assert_array_equal(one.eliminated, other.eliminated)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"a row and a column from 0 to 3; got 4,0"):
        inspect_pair(network, unchanged, template, search, (4, 0))


def test_the_tokens_in_the_targets_box_are_shown_where_they_rank() -> None:
    torch.manual_seed(0)
    network = build_ostrack(replace(SMALL, template_rows="box")).eval()
    template, search = pixels(64, 4), pixels(128, seed=1)
    template[:, 3] = fill_boxes(np.array([[0, 24, 64, 16]]), 64)
    found = inspect_pair(network, unchanged, template, search)
    trace = Trace(listen=(0, 1, 2, 3))
    with torch.inference_mode():
        network(torch.from_numpy(template), torch.from_numpy(search), trace=trace)
    for index in range(4):
        np.testing.assert_allclose(found.attention[f"block {index}"].ravel(), trace.attention[index][0], atol=1e-6)
    corner = inspect_pair(network, unchanged, template, search, token=(0, 0))
    assert not np.allclose(corner.attention["block 0"], found.attention["block 0"])


def test_without_elimination() -> None:
    network = build_ostrack(replace(SMALL, keep_ratio=1.0)).eval()
    assert inspect_pair(network, unchanged, pixels(64), pixels(128)).eliminated is None


def test_stark_has_the_attention_of_its_decoder() -> None:
    torch.manual_seed(0)
    config = STARKConfig(
        template_size=64, search_size=128, blocks=(1, 1, 1), resnet_width=8, width=16, heads=2, hidden=16,
        encoder_layers=2, decoder_layers=2, num_templates=2, score_head=True,
    )  # fmt: skip
    network = build_stark(config).eval()
    search = pixels(128, 4, 1)
    search[:, 3] = 0
    search[:, 3, :, 96:] = 1  # padding
    template = np.stack([pixels(64, 4), pixels(64, 4, 2)], 1)
    template[:, :, 3] = 0
    found = inspect_pair(network, unchanged, template, search)
    assert found.decoder.keys() == {"decoder 0", "decoder 1"}
    assert found.attention.keys() == {"encoder 0", "encoder 1"}
    for grid in (*found.decoder.values(), *found.attention.values()):
        assert grid.shape == (8, 8)
        assert grid.sum() == pytest.approx(1, abs=1e-5)
        assert (grid[:, 6:] == 0).all()  # nothing attends to padding
    assert found.activation.keys() == {"layer1", "layer2", "layer3"}
    assert found.maps["corners"].shape == (2, 8, 8)


@pytest.mark.parametrize("kind", ["encoder-decoder", "concatenation"])
def test_two_streams(kind: str) -> None:
    torch.manual_seed(0)
    relation = replace(RELATION, kind=kind)  # type: ignore[arg-type]
    config = AlignedConfig(
        template_size=64, search_size=128, width=24, depth=2, heads=2, drop_path=0.0, relation=relation,
        head_channels=16,
    )  # fmt: skip
    network = build_aligned(config).eval()
    found = inspect_pair(network, unchanged, pixels(64), pixels(128, seed=1))
    assert found.activation.keys() == {"block 0", "block 1"}
    assert found.attention.keys() == {"encoder 0", "encoder 1"}
    assert len(found.decoder) == (1 if kind == "encoder-decoder" else 0)
    with torch.inference_mode():
        maps = network(torch.from_numpy(pixels(64)), torch.from_numpy(pixels(128, seed=1)))
        states = network.backbone.norm(torch.ones(1, 64, 24))
    assert states.shape == (1, 64, 24)
    np.testing.assert_array_equal(found.maps["score"], maps["score"][0])


def test_other_networks_are_refused() -> None:
    network = build_siamrpn(SiamRPNConfig(backbone="alexnet", search_size=287, widths=(256,), weighted=False))
    with pytest.raises(InputError, match="expected OSTrack, STARK or an aligned network, which have attention"):
        inspect_pair(network, unchanged, pixels(127), pixels(287))
