"""Every tensor on the way through the STARKs against those recorded from the published code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from tests.parity.deterministic import checksum
from tests.parity.records import Recorded, with_part
from torch import Tensor

from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD, normalize
from singletrack.models.layers.encoder_decoder import similarity
from singletrack.models.stark import STARK, Tokens, decode

Inputs = tuple[Tensor, Tensor]

PARAMETERS = {"stark_s50": 28_095_554, "stark_st50": 28_227_395, "stark_st101": 47_167_299}


@pytest.fixture(scope="module")
def record(recorded: Recorded, stark_name: str) -> Mapping[str, np.ndarray]:
    return recorded(f"stark_forward_{stark_name}")


@pytest.fixture(scope="module")
def inputs(record: Mapping[str, np.ndarray], stark: STARK) -> Inputs:
    """The recorded random input, RGB and padding: templates and search.

    Of a network with one template some records drew a second one before the search region, and left it unused: the
    backbone's own output says which. It is the same draw for a network with two.
    """
    used = stark.config.num_templates
    for drawn in range(used, 3):
        template, search = draw_inputs(drawn)
        with torch.inference_mode():
            body = stark.backbone(search[:, :3])[:, ::64, ::3, ::3]
        if np.allclose(body, record["body_search_sub"], rtol=0, atol=1e-4):
            return template[:, :used], search
    raise AssertionError("no draw of the random input gives the recorded output of the backbone")


def draw_inputs(count: int) -> Inputs:
    """That of so many templates."""
    random = np.random.default_rng(2024)
    template, search = torch.zeros(2, count, 4, 128, 128), torch.zeros(2, 4, 320, 320)
    for slot in range(count):
        template[:, slot, :3] = torch.from_numpy(random.standard_normal((2, 3, 128, 128), dtype=np.float32))
    search[:, :3] = torch.from_numpy(random.standard_normal((2, 3, 320, 320), dtype=np.float32))
    template[0, 0, 3, :, -40:] = template[0, 0, 3, :20] = 1.0
    search[0, 3, :, -90:] = search[0, 3, :45] = 1.0
    return template, search


def close(got: Tensor, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def bits(packed: np.ndarray, *shape: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(packed)[: np.prod(shape)].reshape(shape).astype(bool))


def test_weights_are_those_of_the_record(record: Mapping[str, np.ndarray], stark_weights: dict[str, Tensor]) -> None:
    assert checksum(stark_weights) == record["weights_crc"]


def test_parameters_are_as_many_as_published(stark: STARK, stark_name: str) -> None:
    assert sum(p.numel() for p in stark.parameters()) == PARAMETERS[stark_name]
    still = sum(p.numel() for p in stark.parameters() if not p.requires_grad)
    assert still == 222_400  # the stem and the first stage; 28,095,554 - 27,873,154


@torch.inference_mode()
def test_every_step_of_the_forward_pass(record: Mapping[str, np.ndarray], stark: STARK, inputs: Inputs) -> None:
    template, search = inputs
    body = stark.backbone(search[:, :3])
    close(body[:, ::64, ::3, ::3], record["body_search_sub"])

    seen = [stark.see(crops) for crops in (*template.unbind(1), search)]
    tokens = Tokens(*(torch.cat(parts, 1) for parts in zip(*seen, strict=True)))
    assert torch.equal(tokens.padding, bits(record["seq_mask"], *record["seq_mask_shape"]))
    for name, values in (("pos", tokens.position), ("feat", tokens.content)):
        close(values.transpose(0, 1)[::9, :, ::16], record[f"{name}_sub"])

    memory = stark.encoder(tokens.content, tokens.position, tokens.bias())
    close(memory.transpose(0, 1)[::9, :, ::16], record["enc_sub"])
    answer = stark.decoder(memory, tokens.position, tokens.bias())
    close(answer[None], record["dec"])
    encoded = memory[:, -400:]
    close(similarity(encoded, answer), record["att"])
    logits = stark.corner_head(encoded, answer)
    close(logits[:, :1], record["tl_map"])
    close(logits[:, 1:], record["br_map"])
    if stark.score_head is not None:
        close(stark.score_head(answer), record["pred_logits"])


@torch.inference_mode()
def test_the_two_calls(record: Mapping[str, np.ndarray], stark: STARK, inputs: Inputs) -> None:
    template, search = inputs
    features = stark.encode(template)
    assert features.shape == (2, 64 * stark.config.num_templates, 513)
    maps = stark.locate(features, search)
    for corner, name in enumerate(("tl_map", "br_map")):
        expected = torch.from_numpy(record[name]).flatten(1).softmax(1).reshape(2, 20, 20)
        close(maps["corners"][:, corner], expected.numpy(), 1e-6)
    close(decode(maps)[:, None], record["pred_boxes"], 1e-5)
    if "score" in maps:
        close(maps["score"].logit(), record["pred_logits"][:, 0, 0])


@torch.inference_mode()
def test_real_crops(record: Mapping[str, np.ndarray], stark: STARK) -> None:
    """A crop at the border of the frame; its template stands in every slot."""
    with_part(record, "real_search_u8")
    crops = {}
    for name, size in (("template", 128), ("search", 320)):
        pixels = torch.from_numpy(normalize(record[f"real_{name}_u8"], IMAGENET_MEAN, IMAGENET_STD))
        padding = bits(record[f"real_{name}_att"], 1, 1, size, size)
        crops[name] = torch.cat([pixels, padding.float()], 1)
    assert crops["search"][0, 3].any()
    maps = stark(torch.stack([crops["template"]] * stark.config.num_templates, 1), crops["search"])
    close(decode(maps)[:, None], record["real_pred_boxes"], 1e-5)
    if "score" in maps:
        close(maps["score"].logit(), record["real_pred_logits"][:, 0, 0])
