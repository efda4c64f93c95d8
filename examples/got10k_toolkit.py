"""singletrack in the GOT-10k toolkit: its ExperimentGOT10k runs our tracker and reports.

pip install '.[opencv]' got10k==0.1.3 six      # six is needed by got10k 0.1.3, which does not say so
python examples/got10k_toolkit.py --root /data/GOT-10k --subset val
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from got10k.experiments import ExperimentGOT10k
from got10k.trackers import Tracker

import singletrack


class SingletrackTracker(Tracker):
    """One of our models, as the toolkit calls a tracker. It is deterministic, so one repetition is enough.

    options: as for ``singletrack.load``.
    """

    def __init__(self, model: str = "ostrack-tiny", **options: Any) -> None:
        super().__init__(name=model, is_deterministic=True)
        self._tracker = singletrack.load(model, **options)

    def init(self, image: Any, box: Any) -> None:
        """image: a PIL picture in RGB. box: x, y, width, height in pixels."""
        self._tracker.init(np.asarray(image), tuple(box))

    def update(self, image: Any) -> tuple[float, float, float, float]:
        """x, y, width, height in the next picture."""
        return self._tracker.update(np.asarray(image)).box


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one of our models through the GOT-10k toolkit.")
    parser.add_argument("--root", required=True, help="folder of GOT-10k, which holds val and test")
    parser.add_argument("--subset", choices=["val", "test"], default="val", help="test only packs for the server")
    parser.add_argument("--model", default="ostrack-tiny")
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    tracker = SingletrackTracker(arguments.model, weights=arguments.weights)
    experiment = ExperimentGOT10k(arguments.root, subset=arguments.subset)  # writes to results/ and reports/
    experiment.run(tracker)
    experiment.report([tracker.name])


if __name__ == "__main__":
    main()
