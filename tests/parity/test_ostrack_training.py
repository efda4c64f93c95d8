"""Labels, losses, gradients and one step of AdamW against those recorded from the published training code."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from singletrack.models import checkpoints
from singletrack.models.layers.centre_head import decode
from singletrack.models.layers.vit import DropPath
from singletrack.models.ostrack import OSTrack
from singletrack.training.losses import LossWeights, clamped_xyxy, focal_loss, giou, ostrack_loss
from singletrack.training.targets import gaussian_radius, heatmaps, keep_ratio_at

Recorded = Callable[[str], Mapping[str, np.ndarray]]
TRAIN = "ostrack_train_vitb_256_mae_ce_32x4_ep300"
RATIOS = {"keep1": 1.0, "keep085": 0.85, "keep07": 0.7}


# --- labels and losses ---


@pytest.mark.parametrize("size", [256, 320, 384])
def test_heat_maps(size: int, recorded: Recorded) -> None:
    record = recorded("ostrack_heatmap")
    boxes = torch.from_numpy(record["boxes_xywh"])
    maps = heatmaps(boxes, size // 16)
    np.testing.assert_allclose(maps, record[f"map_{size}"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(maps.eq(1).sum((1, 2)), record[f"n_pos_{size}"])
    radii = [gaussian_radius(*(box[2:] * (size // 16)).tolist()) for box in boxes]
    np.testing.assert_allclose(radii, record[f"radius_raw_{size}"], rtol=1e-5)


def test_losses_of_boxes(recorded: Recorded) -> None:
    record = recorded("ostrack_losses")
    one, two = (torch.from_numpy(record[name]) for name in ("xyxy1", "xyxy2"))
    generalised, overlap = giou(one, two)
    np.testing.assert_allclose(generalised, record["giou"], atol=1e-6)
    np.testing.assert_allclose(overlap, record["iou"], atol=1e-6)
    np.testing.assert_allclose((1 - generalised).mean(), record["giou_loss"], atol=1e-6)
    np.testing.assert_allclose((one - two).abs().mean(), record["l1"], atol=1e-6)


def test_focal_loss(recorded: Recorded) -> None:
    record = recorded("ostrack_losses")
    score = torch.from_numpy(record["focal_pred"])[:, 0]
    heat = heatmaps(torch.from_numpy(record["focal_boxes"])[0], 16)
    np.testing.assert_allclose(heat, record["focal_target"][:, 0], atol=1e-6)
    np.testing.assert_allclose(focal_loss(score, heat), record["focal"], rtol=1e-5)
    without_ones = torch.where(heat == 1, torch.tensor(0.999), heat)
    np.testing.assert_allclose(focal_loss(score, without_ones), record["focal_nopos"], rtol=1e-5)


@pytest.mark.parametrize(("schedule", "warm"), [("ep300", 80), ("got10k", 50)])
def test_keep_ratio_by_epoch(schedule: str, warm: int, recorded: Recorded) -> None:
    ratios = [keep_ratio_at(epoch, 20, warm, 0.7) for epoch in range(301)]
    np.testing.assert_allclose(ratios, recorded("ostrack_losses")[f"keep_rate_{schedule}"], atol=1e-12)


# --- gradients and one step ---


@dataclass
class Bench:
    """The network without stochastic depth, and a way back to its first weights."""

    model: OSTrack
    first: dict[str, Tensor]
    template: Tensor
    search: Tensor
    boxes_xywh: Tensor

    def loss(self, ratio: float) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        maps = self.model(self.template, self.search, [ratio] * 3)
        total, parts = ostrack_loss(maps, self.boxes_xywh, LossWeights())
        return total, parts, maps


@pytest.fixture(scope="module")
def bench(recorded: Recorded, model_256: OSTrack) -> Bench:
    record = recorded(TRAIN)
    rng = np.random.default_rng(int(record["input_seed"]))
    template = torch.from_numpy(rng.standard_normal((1, 2, 3, 128, 128), dtype=np.float32))[0]
    search = torch.from_numpy(rng.standard_normal((1, 2, 3, 256, 256), dtype=np.float32))[0]
    model = copy.deepcopy(model_256)
    for module in model.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    return Bench(model, model_256.state_dict(), template, search, torch.from_numpy(record["search_anno"])[0])


def check_losses(total: Tensor, parts: Mapping[str, Tensor], expected: np.ndarray) -> None:
    got = [float(total.detach()), *(float(parts[name]) for name in ("giou", "l1", "focal", "iou"))]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def official_norms(record: Mapping[str, np.ndarray], norms: Mapping[str, float]) -> tuple[list[float], list[int]]:
    """Norms of ours in the record's order, -1 where it has no gradient, and which of them mean something.

    BatchNorm makes the gradient of a convolution's bias before it zero: what is recorded is rounding.
    """
    names = checkpoints.OFFICIAL_NAMES["ostrack-256"]
    ours = [names[str(name)] for name in record["param_names"]]
    noise = [str(name).endswith(".0.bias") and str(name).startswith("box_head") for name in record["param_names"]]
    return [norms[name] if name else -1.0 for name in ours], np.flatnonzero(np.logical_not(noise)).tolist()


@pytest.mark.parametrize("case", RATIOS)
def test_training_step(case: str, recorded: Recorded, bench: Bench) -> None:
    record, model = recorded(TRAIN), bench.model
    prefix = f"train_{case}"
    model.load_state_dict(bench.first)
    model.train()
    model.zero_grad(set_to_none=True)
    total, parts, maps = bench.loss(RATIOS[case])
    check_losses(total, parts, record[f"{prefix}_loss"])
    np.testing.assert_allclose(maps["score"].detach()[:, None], record[f"{prefix}_score_map"], atol=1e-5)
    np.testing.assert_allclose(decode(maps).detach()[:, None], record[f"{prefix}_pred_boxes"], atol=1e-5)
    total.backward()

    grads = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
    got, meant = official_norms(record, grads)
    np.testing.assert_allclose(np.array(got)[meant], record[f"{prefix}_grad_norms"][meant], rtol=1e-3, err_msg=prefix)
    for module, expected in ((model, 0), (model.backbone, 1), (model.head, 2)):
        norm = torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()
        np.testing.assert_allclose(norm, record[f"{prefix}_grad_total"][expected], rtol=1e-3)

    optimizer = torch.optim.AdamW(
        [
            {"params": list(model.backbone.parameters()), "lr": 4e-5},
            {"params": list(model.head.parameters()), "lr": 4e-4},
        ],
        weight_decay=1e-4,
    )
    clipped = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    np.testing.assert_allclose(clipped, record[f"{prefix}_clip_return"], rtol=1e-3)
    optimizer.step()
    deltas = {name: float((p.detach() - bench.first[name]).norm()) for name, p in model.named_parameters()}
    got, meant = official_norms(record, deltas)
    expected = record[f"{prefix}_delta_norms"][meant]
    # Adam's first step is lr g / (|g| + 1e-8): a single gradient near zero, whose last digits are rounding, moves by
    # anything up to lr, which is 0.2 % of the norm in a vector of 64
    np.testing.assert_allclose(np.array(got)[meant][2:], expected[2:], rtol=5e-3)
    assert (expected[:2] == 0).all()  # cls_token and pos_embed, which never receive a gradient

    names = checkpoints.OFFICIAL_NAMES["ostrack-256"]
    for kind in ("mean", "var"):
        running = sorted(name for name in names if name.endswith(f"running_{kind}"))
        state = model.state_dict()
        moved = [float((state[str(names[name])] - bench.first[str(names[name])]).norm()) for name in running]
        np.testing.assert_allclose(moved, record[f"{prefix}_bn_{kind}_delta"], rtol=1e-3)
    if f"{prefix}_loss_after_step" in record:
        with torch.no_grad():
            total, parts, _ = bench.loss(RATIOS[case])
        np.testing.assert_allclose(
            [float(total), float(parts["giou"]), float(parts["l1"]), float(parts["focal"]), float(parts["iou"])],
            record[f"{prefix}_loss_after_step"],
            rtol=1e-3,
            atol=1e-3,
        )


@pytest.mark.parametrize("case", RATIOS)
def test_losses_and_gradients_in_evaluation_mode(case: str, recorded: Recorded, bench: Bench) -> None:
    record, model = recorded(TRAIN), bench.model
    prefix = f"eval_{case}"
    model.load_state_dict(bench.first)
    model.eval()
    model.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(case == "keep07"):  # one backward pass will do: it takes a while
        total, parts, _ = bench.loss(RATIOS[case])
    check_losses(total, parts, record[f"{prefix}_loss"])
    if case != "keep07":
        return
    total.backward()
    grads = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
    got, _ = official_norms(record, grads)  # here the statistics are constants, so that no gradient is noise
    np.testing.assert_allclose(got, record[f"{prefix}_grad_norms"], rtol=1e-3)


def test_true_boxes_are_clamped_to_the_crop() -> None:
    clamped = clamped_xyxy(torch.tensor([[-0.2, 0.3, 0.5, 0.9]]))
    np.testing.assert_allclose(clamped, [[0.0, 0.3, 0.3, 1.0]], atol=1e-6)
