"""Training pairs from the crops that pysot creates from VID, YouTube-BB, DET and COCO."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch.utils.data import Dataset

from singletrack.datasets.pysot_crops import GAPS, CropFolder, Views, categories_of, draw_siamese_pair
from singletrack.errors import InputError
from singletrack.install import docs_page
from singletrack.training.base import Batch, DataPaths, DataSource, Stage

HELD_OUT = 1 << 40  # indices from here on are for validation


class CroppedPairStream(Dataset[Batch]):
    """Pairs by index from pysot crops."""

    def __init__(
        self, folders: Sequence[CropFolder], shares: Sequence[float], views: Views, seed: Sequence[int], first: int = 0
    ) -> None:
        self.folders, self.shares, self.views, self.seed, self.first = folders, shares, views, list(seed), first
        self.categories = None if views.same_category is None else categories_of(folders)

    def __getitem__(self, index: int) -> Batch:
        pair = draw_siamese_pair(self.folders, self.shares, self.views, self.seed, self.first + index, self.categories)
        return {
            "template": torch.from_numpy(pair.template).permute(2, 0, 1),
            "search": torch.from_numpy(pair.search).permute(2, 0, 1),
            "box": torch.from_numpy(pair.box).float(),
            "present": torch.tensor(pair.present),
        }


@dataclass(frozen=True, kw_only=True)
class CroppedPairs(DataSource):
    """Two crops of a video, or one image twice, from the output of the pysot scripts for VID, YouTube-BB, DET and COCO.

    Nothing is held out in the published run, so validation uses other pairs of the same videos, all with their target.

    Attributes:
        shares: data set -> sampling weight.
        views: how crops are cut; the sizes are those of the stage.
    """

    shares: dict[str, float] = field(default_factory=lambda: {"vid": 1.0, "youtubebb": 2.0, "det": 1.0, "coco": 1.0})
    views: Views = field(default_factory=Views)

    def samples(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        return self._stream(stage, data, seed, self.views)

    def held_out(self, stage: Stage, data: DataPaths, seed: Sequence[int]) -> Dataset[Batch]:
        views = replace(self.views, blur=0.0, other=0.0, color=0.0)
        return self._stream(stage, data, seed, views, first=HELD_OUT)

    def needs(self) -> list[str]:
        return list(self.shares)

    def fingerprints(self, data: DataPaths) -> dict[str, str]:
        folders = self.folders(data)
        prints = {}
        for folder in folders:
            _ = folder.tracks  # raises InputError for a folder without its annotations
            content = (folder.root / "train.json").read_bytes()
            told = folder.root / "categories.json"
            if self.views.same_category is not None and told.exists():
                content += told.read_bytes()
            prints[folder.name] = hashlib.sha256(content).hexdigest()
        return prints

    def folders(self, data: DataPaths) -> list[CropFolder]:
        """Return the given folders; raises InputError, naming all that are missing."""
        missing = [name for name in self.shares if name not in data.folders]
        if missing:
            flags = " ".join(f"--data {name}=DIR" for name in self.shares)
            raise InputError(
                f"expected {flags}; got none for {', '.join(missing)}; make them with singletrack "
                "datasets crops NAME --root ROOT --out DIR, or pysot's training_dataset/; see "
                f"{docs_page('siamrpnpp')}"
            )
        return [CropFolder(name=name, root=data.folders[name], gap=GAPS[name]) for name in self.shares]

    def _stream(
        self, stage: Stage, data: DataPaths, seed: Sequence[int], views: Views, first: int = 0
    ) -> CroppedPairStream:
        views = replace(views, template_size=stage.template_size, search_size=stage.search_size)
        folders = self.folders(data)
        for folder in folders:
            _ = folder.tracks  # raises InputError for a folder without its annotations
        return CroppedPairStream(folders, list(self.shares.values()), views, seed, first)
