"""`singletrack evaluate`: follow the sequences of a benchmark and keep what comes of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import click
from tqdm import tqdm

from singletrack import loading
from singletrack.cli.options import precision_option, settings_option
from singletrack.cli.report import show
from singletrack.datasets.base import VideoSequence
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.engines import ENGINES, EXPORTED_ENDINGS, Precision, require_packages
from singletrack.engines.cpu import processor_name
from singletrack.evaluation.ope import Failure, check_batch_tracker
from singletrack.evaluation.protocols import DEFAULT_PROTOCOLS
from singletrack.evaluation.report import build_report
from singletrack.evaluation.result_readers import read_tracker_results
from singletrack.evaluation.run_store import RunFacts, RunFolder
from singletrack.evaluation.runner import run_sequences
from singletrack.evaluation.submission import SERVERS

RAY_EXTRA = (("ray",), 'pip install "singletrack[ray]"')


@click.command(short_help="Follow the sequences of a benchmark.")
@click.argument("dataset", metavar="DATASET", type=click.Choice(list(DEFAULT_PROTOCOLS)))
@click.option("--root", required=True, type=click.Path(path_type=Path), help="The data set's folder, .zip or .tar.")
@click.option("--split", default="", help="One of its splits.  [default: the one that its papers evaluate on]")
@click.option("--split-file", type=click.Path(path_type=Path), help="A list of the split's sequences.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many sequences, from the first on.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this sequence; may be given several times.")
@click.option("--incomplete", is_flag=True, help="Leave out what is missing from the copy, or not whole.")
@click.option(
    "--model", default="ostrack-tiny", show_default=True, help="One of those that `singletrack models` lists."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights to use instead of the model's own.")
@click.option(
    "--engine",
    type=click.Choice(["auto", *ENGINES]),
    default="auto",
    show_default=True,
    help="What runs the network.",
)
@click.option("--device", default="auto", show_default=True, help="Where it runs, as the engine calls it.")
@precision_option
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Processes of this machine.")
@click.option(
    "--batch",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Sequences that each process takes through the network together; for graphics processors.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Of each process. More processes do more than more threads, as long as there are sequences.",
)
@settings_option
@click.option("--ray", "cluster", metavar="ADDRESS", help="Run on this Ray cluster instead; auto finds a near one.")
@click.option("--integers", is_flag=True, help="Boxes in whole pixels, as OSTrack's own result files.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/DATASET-SPLIT-MODEL]")
def command(
    dataset: str,
    root: Path,
    split: str,
    split_file: Path | None,
    limit: int | None,
    only: tuple[str, ...],
    incomplete: bool,
    model: str,
    weights: Path | None,
    engine: str,
    device: str,
    precision: Precision,
    jobs: int,
    batch: int,
    threads: int,
    settings: dict[str, Any],
    cluster: str | None,
    integers: bool,
    out: Path | None,
) -> int:
    """Follow every sequence of DATASET from its first box, and print the score where the true boxes are known.

    The run folder gets boxes, times, scores and lost of each sequence. It may be stopped at any moment, and the same
    command goes on where it stopped; with other settings it is refused. A sequence that fails is told at the end, and
    the exit code is then 1; the others are kept.
    """
    if cluster is not None:
        require_packages("running on a cluster", *RAY_EXTRA)
    split = split or next(iter(BENCHMARKS[dataset].splits))
    sequences = open_dataset(
        dataset,
        root.resolve(),  # other processes may stand elsewhere
        split=split,
        split_file=split_file,
        names=only or None,
        limit=limit,
        incomplete=incomplete,
    )
    model = str(Path(model).resolve()) if Path(model).suffix in EXPORTED_ENDINGS else model
    weights = weights.resolve() if weights else None
    alone = cluster is None and jobs == 1
    load = functools.partial(
        loading.load,
        model,
        weights=weights,
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        settings=settings,
    )
    tracker = load()  # also where other processes will load it: what cannot be loaded is told before they start
    if batch > 1:
        check_batch_tracker(tracker)
    facts = RunFacts(
        dataset=dataset,
        split=split,
        sequences={sequence.name: len(sequence) for sequence in sequences},
        batch=batch,
        threads=threads,
        integers=integers,
        version=version("singletrack"),
        processor=processor_name(),
        **_about(tracker, model, weights),
    )
    folder = RunFolder.start(out or Path("runs") / f"{dataset}-{split}-{facts.model}", facts)
    with Progress(sequences, folder) as progress:
        failures = run_sequences(
            sequences,
            (lambda: tracker) if alone else load,
            folder,
            jobs=jobs,
            batch=batch,
            threads=threads,
            cluster=cluster,
            gpus=1.0 if facts.device.startswith("cuda") else 0.0,
            on_frames=progress.frames,
            on_outcome=progress.outcome,
        )
    try:
        _report(dataset, split, folder, sequences)
    finally:
        for name, failure in failures.items():
            click.echo(f"{failure.trace}failed: {name}: {failure.error}", err=True)
        if failures:
            said = f"{len(failures)} of {len(sequences)} sequences failed; the same command tries them again"
            click.echo(said, err=True)
    return 1 if failures else 0


def _about(tracker: Any, model: str, weights: Path | None) -> dict[str, Any]:
    """What a tracker from the zoo is, in the words of ``RunFacts``: names that were "auto" as they came out."""
    network = tracker.network
    engine = type(network).__module__.rpartition(".")[2].removesuffix("_runtime")
    exported = Path(model) if Path(model).suffix in EXPORTED_ENDINGS else None
    file = weights or exported or loading.bundled_file(model, ".safetensors" if engine == "torch" else ".onnx")
    return {
        "model": Path(model).stem,
        "weights": _digest(file),
        "engine": engine,
        "device": str(network.device),
        "precision": getattr(network, "precision", "fp32"),
        "settings": dataclasses.asdict(tracker.settings),
    }


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _report(dataset: str, split: str, folder: RunFolder, sequences: list[VideoSequence]) -> None:
    """Print where the results are, and the score of those sequences that are done."""
    done = [sequence for sequence in sequences if folder.is_done(sequence.name)]
    click.echo(f"{len(done)} of {len(sequences)} sequences done, in {folder.path}")
    if not done:
        return
    if all(len(sequence.boxes_xywh) < len(sequence) for sequence in done):
        server = f"; its server scores them: singletrack submit {dataset} {folder.path}" if dataset in SERVERS else ""
        click.echo(f"no true boxes of {dataset} {split} are known here{server}")
        return
    show(
        build_report(
            [read_tracker_results(folder.path, done)],
            done,
            benchmark=dataset,
            split=split,
            sequence_count=BENCHMARKS[dataset].splits[split] or len(sequences),
        )
    )


class Progress:
    """Counts the frames that are left, with the time that they will take, on stderr, where that is a terminal."""

    def __init__(self, sequences: list[VideoSequence], folder: RunFolder) -> None:
        left = [sequence for sequence in sequences if not folder.is_done(sequence.name)]
        self.ended, self.failed, self.count = len(sequences) - len(left), 0, len(sequences)
        self.path = folder.path
        if self.ended:
            click.echo(f"{self.ended} of {self.count} sequences were done before")
        self._bar = tqdm(total=sum(map(len, left)), unit=" frames", disable=None, dynamic_ncols=True)

    def frames(self, count: int) -> None:
        """So many more frames were followed."""
        self._bar.update(count)

    def outcome(self, name: str, failure: Failure | None) -> None:
        """A sequence has ended."""
        self.ended += 1
        self.failed += failure is not None
        failed = f", {self.failed} failed" if self.failed else ""
        self._bar.set_postfix_str(f"{self.ended} of {self.count} sequences{failed}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is KeyboardInterrupt:
            click.echo(f"{self.ended} of {self.count} sequences are in {self.path}; the same command goes on", err=True)
