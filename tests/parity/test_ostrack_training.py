"""Labels, losses, gradients and one step of AdamW against those recorded from the published training code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tests.parity.conftest import PublishedOSTrack
from tests.parity.deterministic import checksum
from tests.parity.records import Record, Recorded
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD
from singletrack.models.checkpoint_keys import official_keys
from singletrack.models.layers.center_head import decode
from singletrack.registry import MODELS
from singletrack.training.amp import Autocast
from singletrack.training.base import Batch, Recipe, Stage
from singletrack.training.checkpoint import TrainState, begin, optimizer_of
from singletrack.training.distributed import Distributed
from singletrack.training.labels import gaussian_radius, heatmaps, keep_ratio_at
from singletrack.training.losses import clamped_xyxy, focal_loss, giou
from singletrack.training.recipes.ostrack import ostrack_256, ostrack_384
from singletrack.training.trainer import train_step

EPOCHS = {"keep1": 1, "keep085": 60, "keep07": 300}  # at which the share of tokens kept was recorded


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
    generalized, overlap = giou(one, two)
    np.testing.assert_allclose(generalized, record["giou"], atol=1e-6)
    np.testing.assert_allclose(overlap, record["iou"], atol=1e-6)
    np.testing.assert_allclose((1 - generalized).mean(), record["giou_loss"], atol=1e-6)
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
    """What the published step was recorded with: weights, pixels, boxes; and the loop's own step on them."""

    recipe: Recipe
    progress: TrainState
    first: Mapping[str, Tensor]
    batch: Batch

    def at(self, case: str) -> tuple[TrainState, Stage, Autocast]:
        """The run where it starts the epoch of the case, with the first weights and a new optimizer again."""
        (stage,), progress = self.recipe.stages, self.progress
        progress.model.load_state_dict(self.first)
        progress.model.zero_grad(set_to_none=True)
        progress.optimizer = optimizer_of(stage.task, progress.model, self.recipe, stage)
        progress.step = (EPOCHS[case] - 1) * stage.steps // 300
        return progress, stage, Autocast(progress.model, "fp32", torch.device("cpu"))

    def losses(self, progress: TrainState, stage: Stage, network: Autocast) -> list[float]:
        """In the record's order."""
        total, parts = stage.task.loss(network, self.batch, progress.step / stage.steps)
        return [float(total.detach()), *(float(parts[name]) for name in ("giou", "l1", "focal", "iou"))]


@pytest.fixture(scope="module")
def record(ostrack: PublishedOSTrack, recorded: Recorded) -> Record:
    return recorded(f"ostrack_train_{ostrack.config}")


@pytest.fixture(scope="module")
def bench(record: Record, ostrack: PublishedOSTrack) -> Bench:
    assert checksum(ostrack.weights) == int(record["weights_crc"])
    rng, sizes = np.random.default_rng(int(record["input_seed"])), (ostrack.size // 2, ostrack.size)
    crops = [torch.from_numpy(rng.standard_normal((1, 2, 3, size, size), dtype=np.float32))[0] for size in sizes]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = [(crop * std + mean) * 255 for crop in crops]  # which the objective normalizes to what was recorded
    recipe = (ostrack_256 if ostrack.size == 256 else ostrack_384)(elimination=ostrack.eliminates)
    (stage,) = recipe.stages
    config = replace(stage.task.config, drop_path=0.0)  # type: ignore[attr-defined]
    # all was recorded at the first rate, which the recipe itself has until epoch 240
    stage = replace(stage, task=replace(stage.task, config=config), drop_at=1.0)  # type: ignore[type-var]
    recipe = replace(recipe, stages=(stage,))
    return Bench(
        recipe,
        begin(recipe, 0, None, torch.device("cpu")),
        ostrack.model.state_dict(),
        {
            "template": pixels[0],
            "search": pixels[1],
            "box": torch.from_numpy(record["search_anno"])[0],
            "present": torch.ones(2, dtype=torch.bool),
        },
    )


def said(model: nn.Module) -> tuple[dict[str, Tensor], RemovableHandle]:
    """What the model's last call gave, once it was called, and what ends the listening."""
    maps: dict[str, Tensor] = {}
    return maps, model.register_forward_hook(lambda module, inputs, outputs: maps.update(outputs))


def check_maps(maps: dict[str, Tensor], record: Mapping[str, np.ndarray], prefix: str) -> None:
    np.testing.assert_allclose(maps["score"].detach()[:, None], record[f"{prefix}_score_map"], atol=1e-5)
    np.testing.assert_allclose(decode(maps).detach()[:, None], record[f"{prefix}_pred_boxes"], atol=1e-5)


def gradients(model: nn.Module) -> dict[str, float]:
    """The norm of each tensor's gradient."""
    return {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}


def totals(norms: Mapping[str, float]) -> list[float]:
    """The norm of all gradients, of the backbone's and of the head's."""
    return [
        float(np.sqrt(sum(norm**2 for name, norm in norms.items() if name.startswith(part))))
        for part in ("", "backbone.", "head.")
    ]


def official_norms(record: Mapping[str, np.ndarray], norms: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Norms of ours in the record's order, -1 where it has no gradient, and which of them mean something in training.

    BatchNorm makes the gradient of a convolution's bias before it zero: what is recorded is rounding.
    """
    names = official_keys(MODELS["ostrack-256"].network)
    ours = [names[str(name)] for name in record["param_names"]]
    noise = [str(name).endswith(".0.bias") and str(name).startswith("box_head") for name in record["param_names"]]
    return np.array([norms[name] if name else -1.0 for name in ours]), ~np.array(noise)


@pytest.mark.parametrize("case", EPOCHS)
def test_training_step(case: str, record: Record, ostrack: PublishedOSTrack, bench: Bench) -> None:
    if not ostrack.eliminates and case != "keep1":
        pytest.skip("recorded only of networks that eliminate tokens")
    prefix = f"train_{case}"
    progress, stage, network = bench.at(case)
    progress.model.train()
    maps, listening = said(progress.model)
    numbers = train_step(network, progress, bench.batch, bench.recipe, Distributed(0, 1, torch.device("cpu")))
    listening.remove()
    got = [numbers[name] for name in ("loss", "giou", "l1", "focal", "iou")]
    np.testing.assert_allclose(got, record[f"{prefix}_loss"], rtol=1e-5, atol=1e-5)
    check_maps(maps, record, prefix)

    np.testing.assert_allclose(numbers["norm"], record[f"{prefix}_clip_return"], rtol=1e-3)
    before_clipping = (numbers["norm"] + 1e-6) / bench.recipe.clip
    norms = {name: norm * before_clipping for name, norm in gradients(progress.model).items()}
    ours, meant = official_norms(record, norms)
    np.testing.assert_allclose(ours[meant], record[f"{prefix}_grad_norms"][meant], rtol=1e-3, err_msg=prefix)
    np.testing.assert_allclose(totals(norms), record[f"{prefix}_grad_total"], rtol=1e-3)

    state = progress.model.state_dict()
    moves = {name: float((value - bench.first[name]).float().norm()) for name, value in state.items()}
    ours, meant = official_norms(record, moves)
    expected = record[f"{prefix}_delta_norms"]
    assert (expected[:2] == 0).all()  # cls_token and pos_embed, which never receive a gradient
    meant[:2] = False
    # Adam's first step is lr g / (|g| + 1e-8): a single gradient near zero, whose last digits are rounding, moves by
    # anything up to lr, which is 0.2 % of the norm in a vector of 64
    np.testing.assert_allclose(ours[meant], expected[meant], rtol=5e-3)

    names = official_keys(MODELS["ostrack-256"].network)
    for kind in ("mean", "var"):
        running = sorted(name for name in names if name.endswith(f"running_{kind}"))
        moved = [moves[str(names[name])] for name in running]
        np.testing.assert_allclose(moved, record[f"{prefix}_bn_{kind}_delta"], rtol=1e-3)
    if f"{prefix}_loss_after_step" in record:
        with torch.no_grad():
            after = bench.losses(progress, stage, network)
        np.testing.assert_allclose(after, record[f"{prefix}_loss_after_step"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", EPOCHS)
def test_losses_and_gradients_in_evaluation_mode(
    case: str, record: Record, ostrack: PublishedOSTrack, bench: Bench
) -> None:
    if not ostrack.eliminates and case != "keep1":
        pytest.skip("recorded only of networks that eliminate tokens")
    prefix = f"eval_{case}"
    progress, stage, network = bench.at(case)
    progress.model.eval()
    maps, listening = said(progress.model)
    total, parts = stage.task.loss(network, bench.batch, progress.step / stage.steps)
    listening.remove()
    total.backward()
    got = [float(value) for value in (total.detach(), *(parts[name] for name in ("giou", "l1", "focal", "iou")))]
    np.testing.assert_allclose(got, record[f"{prefix}_loss"], rtol=1e-5, atol=1e-5)
    check_maps(maps, record, prefix)
    norms = gradients(progress.model)
    ours, _ = official_norms(record, norms)  # here the statistics are constants, so that no gradient is noise
    np.testing.assert_allclose(ours, record[f"{prefix}_grad_norms"], rtol=1e-3)
    np.testing.assert_allclose(totals(norms), record[f"{prefix}_grad_total"], rtol=1e-3)


def test_nothing_recorded_is_left_out(record: Record, ostrack: PublishedOSTrack) -> None:
    """The names that the tests above read; the template's boxes play no part in a step."""
    both = ("loss", "pred_boxes", "score_map", "grad_norms", "grad_total")
    trained = (*both, "clip_return", "delta_norms", "bn_mean_delta", "bn_var_delta", "loss_after_step")
    cases = EPOCHS if ostrack.eliminates else ["keep1"]
    read = {f"eval_{case}_{name}" for case in cases for name in both}
    read |= {f"train_{case}_{name}" for case in cases for name in trained} - {"train_keep085_loss_after_step"}
    read |= {"param_names", "search_anno", "template_anno", "input_seed", "weights_crc"}
    assert set(record) - {"meta"} == read


def test_true_boxes_are_clamped_to_the_crop() -> None:
    clamped = clamped_xyxy(torch.tensor([[-0.2, 0.3, 0.5, 0.9]]))
    np.testing.assert_allclose(clamped, [[0.0, 0.3, 0.3, 1.0]], atol=1e-6)
