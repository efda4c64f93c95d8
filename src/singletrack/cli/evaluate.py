"""`singletrack evaluate`: run a tracker on a benchmark and save the results."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from singletrack import loading
from singletrack.cli.options import model_options
from singletrack.cli.progress import ProgressBar
from singletrack.cli.report import show
from singletrack.datasets.base import VideoSequence
from singletrack.datasets.registry import open_dataset
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.engines import EXPORTED_ENDINGS, require_packages
from singletrack.engines.cpu import processor_name
from singletrack.evaluation.ope import Failure, check_batch_tracker
from singletrack.evaluation.protocols import DEFAULT_PROTOCOLS
from singletrack.evaluation.report import build_report
from singletrack.evaluation.result_readers import read_tracker_results
from singletrack.evaluation.run_store import RunFacts, RunFolder
from singletrack.evaluation.runner import run_sequences
from singletrack.evaluation.submission import SERVERS
from singletrack.files import check_output_folder
from singletrack.install import install_command
from singletrack.loading import LoadOptions

RAY_EXTRA = (("ray",), install_command("ray"))


@click.command(short_help="Run a tracker on a benchmark.")
@click.argument("dataset", metavar="DATASET", type=click.Choice(list(DEFAULT_PROTOCOLS)))
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Folder, .zip or .tar of the data set.")
@click.option("--split", default="", help="Split to evaluate.  [default: the evaluation split of its papers]")
@click.option("--split-file", type=click.Path(path_type=Path), help="File with the sequence names of the split.")
@click.option("--limit", type=click.IntRange(min=1), help="Evaluate only the first N sequences.")
@click.option("--only", multiple=True, metavar="NAME", help="Evaluate only this sequence. Repeatable.")
@click.option("--incomplete", is_flag=True, help="Skip missing and incomplete sequences.")
@model_options
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Number of worker processes.")
@click.option(
    "--batch",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Sequences that each process runs as one batch; for GPUs.",
)
@click.option(
    "--ray", "cluster", metavar="ADDRESS", help="Run on a Ray cluster at this address; auto finds a running one."
)
@click.option("--integers", is_flag=True, help="Truncate boxes to integer pixels, as in OSTrack's result files.")
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
    options: LoadOptions,
    jobs: int,
    batch: int,
    cluster: str | None,
    integers: bool,
    out: Path | None,
) -> int:
    """Track every sequence of DATASET from its first box, and print the scores if the ground truth is available.

    The run folder stores boxes, times, scores and lost flags of each sequence. An interrupted run resumes with the same
    command; other settings are refused. Failed sequences are listed at the end, and the exit code is then 1; the other
    results are kept.
    """
    if cluster is not None:
        require_packages("running on a cluster", *RAY_EXTRA)
    if out is not None:
        check_output_folder(out, [root])
    split = split or next(iter(BENCHMARKS[dataset].splits))
    sequences = open_dataset(
        dataset,
        root.resolve(),  # worker processes may have another working directory
        split=split,
        split_file=split_file,
        names=only or None,
        limit=limit,
        incomplete=incomplete,
    )
    model = str(Path(model).resolve()) if Path(model).suffix in EXPORTED_ENDINGS else model
    # more processes do more than more threads, as long as there are sequences
    threads = options.threads or 1
    options = dataclasses.replace(
        options, weights=Path(options.weights).resolve() if options.weights else None, threads=threads
    )
    alone = cluster is None and jobs == 1
    load = functools.partial(loading.load_with, model, options)
    tracker = load()  # load here first, so that errors appear before the workers start
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
        keep_ratio=options.keep_ratio,
        **_about(tracker, model, options.weights),
    )
    folder = RunFolder.start(out or Path("runs") / f"{dataset}-{split}-{facts.model}", facts)
    with EvaluationProgress(sequences, folder) as progress:
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
            message = f"{len(failures)} of {len(sequences)} sequences failed; run the same command to retry them"
            click.echo(message, err=True)
    return 1 if failures else 0


def _about(tracker: Any, model: str, weights: str | Path | None) -> dict[str, Any]:
    """Describe a loaded tracker in the terms of ``RunFacts``, with what "auto" became."""
    network = tracker.network
    engine = network.engine
    exported = Path(model) if Path(model).suffix in EXPORTED_ENDINGS else None
    file = (
        Path(weights)
        if weights
        else exported or loading.bundled_file(model, ".safetensors" if engine == "torch" else ".onnx")
    )
    return {
        "model": Path(model).stem,
        "weights": _digest(*loading.weights_files(file)),
        "engine": engine,
        "device": str(network.device),
        "precision": getattr(network, "precision", "fp32"),
        "settings": dataclasses.asdict(tracker.settings),
    }


def _digest(*paths: Path) -> str:
    """SHA-256 of a file, or of several one after another."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _report(dataset: str, split: str, folder: RunFolder, sequences: list[VideoSequence]) -> None:
    """Print where the results are, and the scores of the finished sequences."""
    done = [sequence for sequence in sequences if folder.is_done(sequence.name)]
    click.echo(f"{len(done)} of {len(sequences)} sequences done, in {folder.path}")
    if not done:
        return
    if all(len(sequence.boxes_xywh) < len(sequence) for sequence in done):
        server = (
            f"; submit the run to its server: singletrack submit {dataset} {folder.path}" if dataset in SERVERS else ""
        )
        click.echo(f"no ground truth for {dataset} {split}, so no scores{server}")
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


class EvaluationProgress:
    """Progress over the remaining frames, on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, sequences: list[VideoSequence], folder: RunFolder) -> None:
        left = [sequence for sequence in sequences if not folder.is_done(sequence.name)]
        self.ended, self.failed, self.count = len(sequences) - len(left), 0, len(sequences)
        self.path = folder.path
        if self.ended:
            click.echo(f"{self.ended} of {self.count} sequences were already done")
        self._bar = ProgressBar(sum(map(len, left)))

    def frames(self, count: int) -> None:
        """Add ``count`` tracked frames."""
        self._bar.update(count)

    def outcome(self, name: str, failure: Failure | None) -> None:
        """Record the end of a sequence."""
        self.ended += 1
        self.failed += failure is not None
        failed = f", {self.failed} failed" if self.failed else ""
        self._bar.update(0, f"{self.ended} of {self.count} sequences{failed}")

    def __enter__(self) -> EvaluationProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is KeyboardInterrupt:
            click.echo(
                f"{self.ended} of {self.count} sequences are in {self.path}; run the same command to resume", err=True
            )
