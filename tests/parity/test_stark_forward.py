"""Every tensor on the way through the STARKs against those recorded from the published code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD, normalise
from singletrack.models.stark import STARK, Tokens, expected_corners

Recorded = Callable[[str], Mapping[str, np.ndarray]]
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]

PARAMETERS = {"stark_s50": 28_095_554, "stark_st50": 28_227_395, "stark_st101": 47_167_299}


@pytest.fixture(scope="module")
def record(recorded: Recorded, stark_name: str) -> Mapping[str, np.ndarray]:
    return recorded(f"stark_forward_{stark_name}")


@pytest.fixture(scope="module")
def inputs(stark: STARK) -> Inputs:
    """The recorded random input: templates, their padding, search, its padding."""
    count = stark.config.templates
    rng = np.random.default_rng(2024)
    templates = [rng.standard_normal((2, 3, 128, 128), dtype=np.float32) for _ in range(count)]
    search = rng.standard_normal((2, 3, 320, 320), dtype=np.float32)
    template_padding = torch.zeros(2, count, 128, 128, dtype=torch.bool)
    template_padding[0, 0, :, -40:] = template_padding[0, 0, :20] = True
    search_padding = torch.zeros(2, 320, 320, dtype=torch.bool)
    search_padding[0, :, -90:] = search_padding[0, :45] = True
    return torch.from_numpy(np.stack(templates, 1)), template_padding, torch.from_numpy(search), search_padding


def close(got: Tensor, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def bits(packed: np.ndarray, *shape: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(packed)[: np.prod(shape)].reshape(shape).astype(bool))


def test_weights_are_those_of_the_record(
    record: Mapping[str, np.ndarray], detweights: ModuleType, stark_weights: dict[str, Tensor]
) -> None:
    assert detweights.checksum(stark_weights) == record["weights_crc"]


def test_parameters_are_as_many_as_published(stark: STARK, stark_name: str) -> None:
    assert sum(p.numel() for p in stark.parameters()) == PARAMETERS[stark_name]
    still = sum(p.numel() for p in stark.parameters() if not p.requires_grad)
    assert still == 222_400  # the stem and the first stage; 28,095,554 - 27,873,154


@torch.inference_mode()
def test_every_step_of_the_forward_pass(record: Mapping[str, np.ndarray], stark: STARK, inputs: Inputs) -> None:
    template, template_padding, search, search_padding = inputs
    body = stark.backbone(search)
    close(body[:, ::64, ::3, ::3], record["body_search_sub"])

    seen = [stark.see(*pair) for pair in zip(template.unbind(1), template_padding.unbind(1), strict=True)]
    seen += [stark.see(search, search_padding)]
    tokens = Tokens(*(torch.cat(parts, 1) for parts in zip(*seen, strict=True)))
    assert torch.equal(tokens.padding, bits(record["seq_mask"], *record["seq_mask_shape"]))
    for name, values in (("pos", tokens.position), ("feat", tokens.content)):
        close(values.transpose(0, 1)[::9, :, ::16], record[f"{name}_sub"])

    memory = stark.encoder(tokens)
    close(memory.content.transpose(0, 1)[::9, :, ::16], record["enc_sub"])
    answer = stark.decoder(memory)
    close(answer[None], record["dec"])
    encoded = memory.content[:, -400:]
    close(stark.corner_head.likeness(encoded, answer), record["att"])
    logits = stark.corner_head(encoded, answer)
    close(logits[:, :1], record["tl_map"])
    close(logits[:, 1:], record["br_map"])
    close(expected_corners(logits.flatten(2).softmax(2).view_as(logits))[:, None], record["pred_boxes"], 1e-5)
    if stark.score_head is not None:
        close(stark.score_head(answer), record["pred_logits"])


@torch.inference_mode()
def test_the_two_calls(record: Mapping[str, np.ndarray], stark: STARK, inputs: Inputs) -> None:
    template, template_padding, search, search_padding = inputs
    features = stark.encode(template, template_padding)
    assert features.shape == (2, 64 * stark.config.templates, 513)
    maps = stark.locate(features, search, search_padding)
    for corner, name in enumerate(("tl_map", "br_map")):
        expected = torch.from_numpy(record[name]).flatten(1).softmax(1).reshape(2, 20, 20)
        close(maps["corners"][:, corner], expected.numpy(), 1e-6)
    close(maps["box_cxcywh"][:, None], record["pred_boxes"], 1e-5)
    assert ("score" in maps) == ("pred_logits" in record)
    if "score" in maps:
        close(maps["score"].logit(), record["pred_logits"][:, 0, 0])


@torch.inference_mode()
def test_real_crops(record: Mapping[str, np.ndarray], stark: STARK) -> None:
    """A crop at the border of the frame; its template stands in every slot."""
    count = stark.config.templates
    template = torch.from_numpy(normalise(record["real_template_u8"], IMAGENET_MEAN, IMAGENET_STD))
    search = torch.from_numpy(normalise(record["real_search_u8"], IMAGENET_MEAN, IMAGENET_STD))
    template_padding = bits(record["real_template_att"], 1, 128, 128)
    search_padding = bits(record["real_search_att"], 1, 320, 320)
    assert search_padding.any()
    features = stark.encode(torch.stack([template] * count, 1), torch.stack([template_padding] * count, 1))
    maps = stark.locate(features, search, search_padding)
    close(maps["box_cxcywh"][:, None], record["real_pred_boxes"], 1e-5)
    if "score" in maps:
        close(maps["score"].logit(), record["real_pred_logits"][:, 0, 0])


@torch.inference_mode()
def test_no_padding_may_be_left_out(stark: STARK, inputs: Inputs) -> None:
    template, template_padding, search, search_padding = (tensor[:1] for tensor in inputs)
    left_out = stark(template, search)
    given = stark(template, search, torch.zeros_like(template_padding), torch.zeros_like(search_padding))
    for name, values in left_out.items():
        torch.testing.assert_close(values, given[name])
