"""The published recipe of SiamRPN++ with ResNet-50, on the four data sets that pysot prepares.

Source: pysot's experiments/siamrpn_r50_l234_dwxcorr_8gpu and its training code. docs/siamrpnpp.md lists what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from singletrack.registry import MODELS
from torch.utils.data import Dataset

from singletrack.datasets.pysot_crops import GAPS, CropFolder, Views, draw_siamese_pair
from singletrack.errors import InputError
from singletrack.tracking.siamrpn import SiamRPNSettings
from singletrack.training.base import Batch, DataPaths, DataSource, Recipe, Stage
from singletrack.training.tasks.siamrpn import SiamRPNTask

PAIRS_AN_EPOCH = 600_000
BATCH = 224  # 28 on each of eight processors; the rates below belong to it
STEPS_AN_EPOCH = PAIRS_AN_EPOCH // BATCH
HELD_OUT = 1 << 40  # indices from here on are not trained on


class CroppedPairStream(Dataset[Batch]):
    """Pairs by index, cut from pysot's crops."""

    def __init__(
        self, folders: Sequence[CropFolder], shares: Sequence[float], views: Views, seed: Sequence[int], first: int = 0
    ) -> None:
        self.folders, self.shares, self.views, self.seed, self.first = folders, shares, views, list(seed), first

    def __getitem__(self, index: int) -> Batch:
        pair = draw_siamese_pair(self.folders, self.shares, self.views, self.seed, self.first + index)
        return {
            "template": torch.from_numpy(pair.template).permute(2, 0, 1),
            "search": torch.from_numpy(pair.search).permute(2, 0, 1),
            "box": torch.from_numpy(pair.box).float(),
            "present": torch.tensor(pair.present),
        }


@dataclass(frozen=True, kw_only=True)
class CroppedPairs(DataSource):
    """Two crops of a video, or one picture twice, of what pysot's scripts make of VID, YouTube-BB, DET and COCO.

    shares: data set -> how often it is drawn from, beside the others. views: how crops are cut; their sizes are the
    stage's. Nothing is held out of the published run: what validates are other pairs of the same videos, all with
    their target.
    """

    shares: dict[str, float] = field(default_factory=lambda: {"vid": 1.0, "youtubebb": 2.0, "det": 1.0, "coco": 1.0})
    views: Views = field(default_factory=Views)

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return self._stream(stage, data, seed, self.views)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        views = replace(self.views, blur=0.0, other=0.0, color=0.0)
        return self._stream(stage, data, seed, views, first=HELD_OUT)

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        return {
            folder.name: hashlib.sha256((folder.root / "train.json").read_bytes()).hexdigest()
            for folder in self.folders(data)
        }

    def folders(self, data: DataPaths) -> list[CropFolder]:
        """Those that the user gave. Raises InputError, naming all that are missing."""
        missing = [name for name in self.shares if name not in data.folders]
        if missing:
            flags = " ".join(f"--data {name}=DIR" for name in self.shares)
            raise InputError(
                f"expected {flags}; got none for {', '.join(missing)}; make them with pysot's training_dataset/: in "
                "each DIR train.json and crop511 (docs/siamrpnpp.md)"
            )
        return [CropFolder(name=name, root=data.folders[name], gap=GAPS[name]) for name in self.shares]

    def _stream(
        self, stage: Stage, data: DataPaths, seed: Sequence[int], views: Views, first: int = 0
    ) -> CroppedPairStream:
        views = replace(views, template_size=stage.template_size, search_size=stage.search_size)
        folders = self.folders(data)
        for folder in folders:
            _ = folder.tracks  # a folder without its annotations should be told of now
        return CroppedPairStream(folders, list(self.shares.values()), views, seed, first)


def siamrpnpp_r50() -> Recipe:
    """SiamRPN++ with ResNet-50 on VID, YouTube-BB, DET and COCO, as published for eight devices.

    Command: ``singletrack train siamrpnpp_r50 --data vid=DIR --data youtubebb=DIR --data det=DIR --data coco=DIR
    --weights resnet50.model --device cuda --devices 8 --workers 4``.
    Cost: 20 epochs of 600,000 pairs. For the first ten the backbone stays as it is for ImageNet; then all of it but the
    stem and the first stage learns, at a tenth of the rate. The rate rises to its peak in five epochs and falls to a
    tenth of it.
    """
    task = SiamRPNTask(config=MODELS["siamrpnpp-r50"].network, settings=SiamRPNSettings())
    ten_epochs, fall = 10 * STEPS_AN_EPOCH, 10 ** (-1 / 14)  # fourteen epochs after the fifth, to a tenth
    heads = Stage(
        name="heads",
        task=task,
        source=CroppedPairs(),
        template_size=127,
        search_size=255,
        steps=ten_epochs,
        batch=BATCH,
        lr=0.0,
        head_lr=5e-3,
        warmup=5 * STEPS_AN_EPOCH,
        warmup_from=0.2,
        schedule="exponential",
        last_lr=fall**5,
        check_every=STEPS_AN_EPOCH,
    )
    rate = heads.head_lr * heads.last_lr
    whole = replace(heads, name="whole", lr=rate / 10, head_lr=rate, warmup=0, warmup_from=0.0, last_lr=fall**10)
    return Recipe(
        name="siamrpnpp_r50",
        model="siamrpnpp-r50",
        stages=(heads, whole),
        optimizer="sgd",
        weight_decay=1e-4,
        clip=10.0,
        whole_batch=False,
        starts_from="resnet50.model of pysot, a ResNet-50 for ImageNet",
    )


SIAMRPN_RECIPES: dict[str, Callable[[], Recipe]] = {"siamrpnpp_r50": siamrpnpp_r50}
