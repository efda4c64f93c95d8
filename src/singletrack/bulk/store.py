"""The output folder of a run, on a disk or an object store. This module alone defines its layout.

    FOLDER/run.json                       the run: manifest digest, model, settings, number of rows and parts
    FOLDER/boxes/NNNNNN/KEY-RANGE.parquet the boxes of a part; its metadata holds what happened to each row
    FOLDER/rows/NNNNNN/KEY-RANGE.parquet  what happened to each row of a part, as a table
    FOLDER/attempts/RANGE.json            the video that a careful worker has in hand
    FOLDER/unfinished/                    files that are being written (on disks)
    FOLDER/run.json.lock, lock.json       whose run this is

KEY is a digest of everything that decides the boxes: the manifest and the settings. RANGE is the range of rows.

A part is committed when its file in ``boxes`` exists. It appears complete, in one atomic step that fails if it is there
already: a hard link on disks, a conditional put on object stores. Whoever is second keeps the file of the first. Where
failed rows are tracked again, a whole file takes its place in one step. The
file in ``rows`` is derived from it, and is written again if it is missing. So no box is ever written twice or half,
whichever processes stop at whatever moment, and even if two runs should work on one part.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from singletrack.bulk.manifest import open_address
from singletrack.bulk.packages import require_package
from singletrack.errors import InputError, SingletrackError
from singletrack.files import make_folder, remove_unfinished, unfinished_name, unwritable
from singletrack.locking import lock_file

FOLDER_ROWS = 100_000  # rows whose parts share a folder
HEARTBEAT = 20.0  # seconds between two signs of life of a run on an object store
SETTLE = 1.0  # seconds until a lock on an object store counts
STALE = 90.0  # seconds without one after which its lock is taken over
OUTCOMES = b"singletrack.rows"  # metadata key of a boxes file
EXISTS_CODES = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Everything that decides the boxes of a run, and how many there are.

    Attributes:
        manifest: path or address.
        digest: SHA-256 of the manifest.
        root: where relative paths of videos start.
        rows: number of rows.
        parts: number of parts.
        part_rows: rows per part.
        models: digest of the weights by model; "" is the model of rows that name none.
        options: load options, and the box format.
        version: version of singletrack.
    """

    manifest: str = field(compare=False)
    digest: str
    root: str
    rows: int
    parts: int
    part_rows: int
    models: Mapping[str, str]
    options: Mapping[str, Any]
    version: str

    @property
    def key(self) -> str:
        """A short digest of everything that decides the boxes."""
        compared = {each.name: getattr(self, each.name) for each in fields(self) if each.compare}
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened to a row of the manifest.

    Attributes:
        row: number of the row, from 0.
        video: as in the manifest.
        id: id of the target.
        model: name of the model.
        status: "done" or "failed".
        reason: why it failed; the boxes of the frames before that are kept.
        frames: number of frames with a box.
        seconds: time that it took: its share of the time of the targets that were tracked with it.
        digest: digest of the weights.
        host: machine that tracked it.
        began: when its video was opened, in seconds since 1970.
        finished: the same for its end.
    """

    row: int
    video: str
    id: str
    model: str
    status: str
    reason: str
    frames: int
    seconds: float
    digest: str
    host: str
    began: float
    finished: float


@dataclass(frozen=True)
class Store:
    """An output folder. It can be pickled and opened in other processes.

    Args:
        address: absolute path, or address.
    """

    address: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of a disk."""
        system, _ = open_address(self.address)
        protocols = system.protocol
        return "file" in ((protocols,) if isinstance(protocols, str) else protocols)

    def path(self, *names: str) -> str:
        """The path of a file in the file system of the folder."""
        _, root = open_address(self.address)
        return "/".join((root.rstrip("/"), *names))

    def read(self, *names: str) -> bytes | None:
        """Read a file; None if it does not exist."""
        system, _ = open_address(self.address)
        try:
            content: bytes = system.cat_file(self.path(*names))
        except FileNotFoundError:
            return None
        except Exception as error:  # each file system has its own, such as those of missing credentials
            raise SingletrackError(
                f"cannot read {self.path(*names)} ({type(error).__name__}: {error}); check the address and its "
                "permissions"
            ) from error
        return content

    def write(self, content: bytes, *names: str) -> None:
        """Write or replace a file atomically; raises SingletrackError if this is not possible."""
        system, _ = open_address(self.address)
        path = self.path(*names)
        try:
            if not self.is_local:
                system.pipe_file(path, content)
                return
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with self._unfinished(Path(path)) as unfinished:
                _write_through(unfinished, content)
                unfinished.replace(path)
        except (OSError, NotImplementedError) as error:  # not every file system can be written
            raise unwritable(Path(path), error) from error

    def list_parts(self, folder: str) -> dict[str, str]:
        """List the Parquet files in a folder: name without key and ending -> path."""
        system, _ = open_address(self.address)
        system.invalidate_cache()
        paths = system.find(self.path(folder)) if system.exists(self.path(folder)) else []
        return {
            path.rpartition("/")[2].removesuffix(".parquet").partition("-")[2]: path
            for path in sorted(paths)
            if path.endswith(".parquet")
        }

    def remove(self, *names: str) -> None:
        """Remove a file; nothing happens if it does not exist."""
        system, _ = open_address(self.address)
        with suppress(FileNotFoundError):
            system.rm_file(self.path(*names))

    # --- parts ---

    @contextmanager
    def new_file(self) -> Iterator[Path]:
        """Context manager that gives a local path for a file that is to be committed, and removes it at the end."""
        if self.is_local:
            with self._unfinished(Path("part.parquet")) as path:
                yield path
        else:
            with tempfile.TemporaryDirectory(prefix="singletrack-") as folder:
                yield Path(folder) / "part.parquet"

    def commit(self, file: Path, key: str, name: str) -> bool:
        """Commit the boxes of a part, unless it is committed already.

        Args:
            file: from ``new_file``.
            key: of the run.
            name: of the part.

        Returns:
            Whether this file was committed. False if another one was before.

        Raises:
            SingletrackError: the folder cannot be written.
        """
        path = self.boxes_path(key, name)
        try:
            return self._link(file, Path(path)) if self.is_local else self._put_new(file, path)
        except OSError as error:
            raise unwritable(Path(path), error) from error

    def _link(self, file: Path, path: Path) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
        try:
            os.link(file, path)
        except FileExistsError:
            return False
        _sync_folder(path.parent)
        return True

    def replace(self, file: Path, key: str, name: str) -> None:
        """Put the boxes of a part in the place of those that are committed, in one atomic step.

        Its file in ``rows`` is removed first: whenever this is interrupted, ``repair`` writes the one that fits.

        Args:
            file: from ``new_file``.
            key: of the run.
            name: of the part.

        Raises:
            SingletrackError: the folder cannot be written.
        """
        path = self.boxes_path(key, name)
        try:
            self.remove(*_place("rows", key, name))
            if self.is_local:
                with file.open("rb+") as stream:
                    os.fsync(stream.fileno())
                file.replace(path)
                _sync_folder(Path(path).parent)
            else:
                open_address(self.address)[0].put_file(str(file), path)
        except OSError as error:
            raise unwritable(Path(path), error) from error

    def _put_new(self, file: Path, path: str) -> bool:
        system, _ = open_address(self.address)
        try:
            system.put_file(str(file), path, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if any(code in f"{error!r} {error.__cause__!r}" for code in EXISTS_CODES):
                return False
            raise
        return True

    def write_rows(self, key: str, name: str, outcomes: Sequence[Outcome]) -> None:
        """Write what happened to the rows of a committed part."""
        arrow, parquet = require_package("pyarrow"), require_package("pyarrow.parquet")
        columns = {each.name: [getattr(outcome, each.name) for outcome in outcomes] for each in fields(Outcome)}
        for moment in ("began", "finished"):
            columns[moment] = [int(1e6 * seconds) for seconds in columns[moment]]
        sink = arrow.BufferOutputStream()
        parquet.write_table(arrow.table(columns, schema=rows_schema()), sink, compression="zstd")
        self.write(sink.getvalue().to_pybytes(), *_place("rows", key, name))

    def read_rows(self, columns: Sequence[str]) -> Any:
        """Read columns of what happened to the rows of all committed parts, as an Arrow table."""
        datasets = require_package("pyarrow.dataset")
        paths = list(self.list_parts("rows").values())
        if not paths:
            return rows_schema().empty_table().select(columns)
        system, _ = open_address(self.address)
        return datasets.dataset(paths, schema=rows_schema(), filesystem=system, format="parquet").to_table(
            columns=columns
        )

    def failed_rows(self) -> set[int]:
        """Return the numbers of the rows that failed."""
        table = self.read_rows(["row", "status"])
        return set(table.filter(require_package("pyarrow.compute").equal(table["status"], "failed"))["row"].to_pylist())

    def boxes_path(self, key: str, name: str) -> str:
        """The path of the boxes of a part."""
        return self.path(*_place("boxes", key, name))

    def boxes(self, key: str, name: str) -> Iterator[Any]:
        """Read the boxes of a committed part, as Arrow record batches."""
        parquet = require_package("pyarrow.parquet")
        system, _ = open_address(self.address)
        with system.open(self.boxes_path(key, name), "rb") as stream:
            yield from parquet.ParquetFile(stream).iter_batches()

    def outcomes(self, path: str) -> list[Outcome]:
        """Read what happened to the rows of a committed part from its boxes file."""
        parquet = require_package("pyarrow.parquet")
        system, _ = open_address(self.address)
        with system.open(path, "rb") as stream:
            metadata = parquet.read_metadata(stream).metadata
        return [Outcome(**each) for each in json.loads(metadata[OUTCOMES])]

    def repair(self, key: str) -> set[str]:
        """Write the missing files of ``rows``, and remove what killed processes left; returns the committed parts.

        Raises:
            SingletrackError: the folder has parts of another run.
        """
        system, _ = open_address(self.address)
        if self.is_local:
            remove_unfinished(Path(self.path("unfinished")))
        for path in system.find(self.path("attempts")) if system.exists(self.path("attempts")) else []:
            system.rm_file(path)
        committed, described = self.list_parts("boxes"), self.list_parts("rows")
        for name, path in committed.items():
            if not path.endswith(f"/{key}-{name}.parquet"):
                raise SingletrackError(
                    f"{path} is not of this run, whose files begin with {key}; remove it, or give another folder"
                )
            if name not in described:
                self.write_rows(key, name, self.outcomes(path))
        return set(committed)

    # --- attempts ---

    def note_attempt(self, part: str, row: int) -> None:
        """Note the video that a careful worker takes in hand, by the number of its first row."""
        self.write(json.dumps({"row": row}).encode(), "attempts", f"{part}.json")

    def last_attempt(self, part: str) -> int | None:
        """Return and remove the note of a worker that died; None without one."""
        content = self.read("attempts", f"{part}.json")
        if content is None:
            return None
        self.remove("attempts", f"{part}.json")
        return int(json.loads(content)["row"])

    # --- the run ---

    def start(self, facts: RunFacts) -> RunFacts:
        """Create the folder, or check that it is of the same run.

        Raises:
            InputError: it holds another run.
            SingletrackError: it cannot be written.
        """
        held = self.facts()
        if held is None:
            if self.list_parts("boxes"):
                raise InputError(f"{self.address} has boxes but no run.json; give another folder (--out)")
            self.write((json.dumps(asdict(facts), indent=2, ensure_ascii=False) + "\n").encode(), "run.json")
            return facts
        different = [
            f"{each.name} was {getattr(held, each.name)}, is {getattr(facts, each.name)}"
            for each in fields(facts)
            if each.compare and _as_json(getattr(held, each.name)) != _as_json(getattr(facts, each.name))
        ]
        if held.digest != facts.digest:  # in words, without what follows from it
            follows = ("digest was", "rows was", "parts was")
            different = ["another manifest", *(each for each in different if not each.startswith(follows))]
        if different:
            raise InputError(
                f"{self.address} holds another run: {'; '.join(different)}; give another folder (--out), or use the "
                "same manifest and options as before"
            )
        return held

    def facts(self) -> RunFacts | None:
        """Read the facts of the run; None if there is no run. Raises InputError if the file is damaged."""
        content = self.read("run.json")
        if content is None:
            return None
        try:
            return RunFacts(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{self.address} is not a folder of `singletrack bulk`: run.json is invalid ({error})"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Context manager in which this process alone runs in this folder.

        Raises:
            SingletrackError: another process does.
        """
        if self.is_local:
            folder = Path(self.path())
            existed = folder.exists()
            make_folder(folder)
            make_folder(folder / "unfinished")
            try:
                unlock = self._lock_file()
            except BlockingIOError as error:
                raise self._taken("another process") from error
            try:
                yield
            finally:
                unlock()
                if not existed and not (folder / "run.json").exists():  # nothing was begun
                    with suppress(OSError):
                        (folder / "run.json.lock").unlink(missing_ok=True)
                        (folder / "unfinished").rmdir()
                        folder.rmdir()
        else:
            with self._remote_lock():
                yield

    def is_running(self) -> bool:
        """Whether a process runs in this folder."""
        if not self.is_local:
            return _is_fresh(self.read("lock.json"))
        if not Path(self.path("run.json.lock")).exists():
            return False
        try:
            lock_file(Path(self.path("run.json")))()
        except BlockingIOError:
            return True
        return False

    def _lock_file(self) -> Callable[[], None]:
        try:
            return lock_file(Path(self.path("run.json")))
        except BlockingIOError:
            time.sleep(0.5)  # ``is_running`` of another process holds it for a moment
            return lock_file(Path(self.path("run.json")))

    @contextmanager
    def _remote_lock(self) -> Iterator[None]:
        if _is_fresh(content := self.read("lock.json")):
            raise self._taken(json.loads(content or b"{}")["holder"])
        mine = {"holder": f"process {os.getpid()} on {platform.node()}", "token": uuid.uuid4().hex}

        def beat() -> None:
            self.write(json.dumps({**mine, "time": time.time()}).encode(), "lock.json")

        beat()
        time.sleep(SETTLE)  # a run that started at the same moment has written by now, and the last one holds the lock
        held = json.loads(self.read("lock.json") or b"{}")
        if held.get("token") != mine["token"]:
            raise self._taken(held.get("holder", "another process"))
        stop = threading.Event()

        def keep() -> None:
            while not stop.wait(HEARTBEAT):
                with suppress(SingletrackError):  # the next beat may succeed
                    beat()

        thread = threading.Thread(target=keep, name="lock of the run", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.remove("lock.json")

    def _taken(self, holder: str) -> SingletrackError:
        return SingletrackError(
            f"{self.address} is in use by {holder}; wait until it ends (`singletrack bulk status` shows its progress), "
            "stop it, or give another folder (--out)"
        )

    @contextmanager
    def _unfinished(self, path: Path) -> Iterator[Path]:
        unfinished = unfinished_name(Path(self.path("unfinished")) / path.name)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
        finally:
            unfinished.unlink(missing_ok=True)


def boxes_schema() -> Any:
    """The columns of the boxes: one row per target and frame."""
    arrow = require_package("pyarrow")
    sides = [(side, arrow.float32()) for side in ("x", "y", "width", "height")]
    return arrow.schema(
        [
            ("video", arrow.string()),
            ("id", arrow.string()),
            ("frame", arrow.int32()),
            ("time", arrow.float64()),
            *sides,
            ("score", arrow.float32()),
            ("lost", arrow.bool_()),
        ]
    )


def rows_schema() -> Any:
    """The columns of the table of what happened: one row per row of the manifest, see ``Outcome``."""
    arrow = require_package("pyarrow")
    kinds = {"row": arrow.int64(), "frames": arrow.int64(), "seconds": arrow.float64()}
    kinds["began"] = kinds["finished"] = arrow.timestamp("us", "UTC")
    return arrow.schema([(each.name, kinds.get(each.name, arrow.string())) for each in fields(Outcome)])


def _place(folder: str, key: str, name: str) -> tuple[str, str, str]:
    return folder, f"{int(name.partition('-')[0]) // FOLDER_ROWS:06d}", f"{key}-{name}.parquet"


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _is_fresh(content: bytes | None) -> bool:
    return content is not None and time.time() - json.loads(content)["time"] < STALE


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power failure, where the system can."""
    with suppress(OSError):  # Windows opens no folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
