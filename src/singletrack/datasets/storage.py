"""Reads the files of a data set from folders, or from the zip and tar files in which it is distributed.

An archive is treated as if it were unpacked where it is: into its own folder if it has files at its top level,
otherwise next to itself. ``airplane.zip``, which holds ``airplane/airplane-1/...``, becomes the folder ``airplane``,
and ``zips/V_0.zip``, which holds ``0.jpg``, the folder ``zips/V_0``. A folder hides an archive of its name.

Paths are relative to the root and use "/".
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from singletrack.datasets.base import Image
from singletrack.errors import InputError, VideoError, show_value
from singletrack.video.frames import FrameConverter
from singletrack.video.images import PICTURE_ENDINGS, decode_picture, may_be_deep, natural_key

ARCHIVE_ENDINGS = (".zip", ".tar")
# Reaching a frame in these requires reading from their start.
SOLID_ENDINGS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
LARGEST_FILE = 1 << 30  # bytes; twice the largest annotation file, that of YouTube-BB
# Packed files up to this size are always read; larger ones only up to this compression ratio.
SMALL_FILE, LARGEST_RATIO = 1 << 24, 100
ARCHIVES_KEPT_OPEN = 256  # per process; LaSOT has one for each of 70 classes, TrackingNet for each sequence


@dataclass(frozen=True)
class Place:
    """A file or folder: ``path`` on the disk, or ``inside`` the archive at ``path`` ("" is its top)."""

    path: Path
    inside: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.inside is None else f"{self.path}:{self.inside}"

    def below(self, name: str) -> Place:
        """Return the entry ``name`` in this folder, whether it exists or not."""
        if self.inside is None:
            return Place(self.path / name)
        return Place(self.path, f"{self.inside}/{name}".lstrip("/"))

    def read(self) -> bytes:
        """Read this file; raises OSError if it is missing or an archive is damaged."""
        if self.inside is None:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is a folder, pipe or device, not a file")
            check_size(status.st_size, status.st_size)
            return self.path.read_bytes()
        return _opened(self.path, os.getpid()).read(self.inside)

    def contents(self) -> tuple[set[str], set[str]]:
        """Return the names of the folders and files in this folder, without hidden ones; empty if it does not exist."""
        if self.inside is not None:
            return _opened(self.path, os.getpid()).contents(self.inside)
        folders: set[str] = set()
        files: set[str] = set()
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        (folders if entry.is_dir() else files).add(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        return folders, files


class Storage:
    """The files below a root, which is a folder or an archive.

    A root archive with a single folder is read from that folder down.

    Raises:
        InputError: there is no such folder or archive.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.name.lower().endswith(SOLID_ENDINGS):
            raise InputError(
                f"expected a folder, a .zip or a .tar; got {root}, which cannot be read from its middle; unpack it"
            )
        if self.root.is_dir():
            self._top = Place(self.root)
        elif self.root.is_file() and self.root.suffix.lower() in ARCHIVE_ENDINGS:
            folders, files = Place(self.root, "").contents()
            self._top = Place(self.root, folders.pop() if len(folders) == 1 and not files else "")
        else:
            raise InputError(
                f"expected the folder, .zip or .tar of a data set; got {root}, which does not exist or is "
                "another kind of file; "
                "check the path"
            )

    def place(self, path: str) -> Place:
        """Return the location of a folder, whether it exists or not."""
        if ".." in path.split("/") or "\0" in path:
            raise InputError(f"expected a path inside the data set; got {show_value(path)}, which leads out of it")
        here = self._top
        for part in [part for part in path.split("/") if part not in {"", "."}]:
            below = here.below(part)
            if here.inside is None and not below.path.exists():
                below = _in_archives(here.path, part) or below
            here = below
        return here

    def folders(self, path: str) -> list[str]:
        """List the folders in a folder, in natural order."""
        place = self.place(path)
        folders, files = place.contents()
        if place.inside is None:
            for archive in _archives(place.path, files):
                folders |= _unpacked(archive).keys()
        return sorted(folders, key=natural_key)

    def files(self, path: str) -> list[str]:
        """List the files in a folder, in natural order."""
        return sorted(self.place(path).contents()[1], key=natural_key)

    def has(self, path: str) -> bool:
        """Check whether a file exists."""
        folder, _, name = path.rpartition("/")
        place = self.place(folder)
        return place.below(name).path.is_file() if place.inside is None else name in place.contents()[1]

    def text(self, path: str) -> str:
        """Read a text file; raises InputError if that fails."""
        folder, _, name = path.rpartition("/")
        place = self.place(folder).below(name)
        try:
            return place.read().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read text file {place} ({reason}); get a complete copy") from error

    def pictures(self, path: str) -> list[str]:
        """List the images in a folder, in natural order."""
        return [name for name in self.files(path) if name.lower().endswith(PICTURE_ENDINGS)]

    def frames(self, path: str, names: Iterable[str]) -> StoredFrames:
        """Return the images with these names in a folder, as frames."""
        return StoredFrames(self.place(path), names)


class StoredFrames:
    """Frames that are images of one folder, on the disk or in an archive, read on access."""

    def __init__(self, folder: Place, names: Iterable[str]) -> None:
        self.folder = folder
        # thousands of sequences have equal file names, so strings are shared
        self.names = tuple(map(sys.intern, names))
        self._convert: FrameConverter | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Image:
        return self.picture(index)

    def picture(self, index: int, shrunk: int = 1) -> Image:
        """Read a frame at 1 / ``shrunk`` (1, 2, 4 or 8) of its size; a JPEG is decoded at that size, which is faster.

        Raises the errors of indexing.
        """
        place = self.folder.below(self.names[index])
        try:
            data = place.read()
        except OSError as error:
            raise VideoError(f"cannot read image {place} ({error}); get a complete copy") from error
        if data.startswith(JPEG_START) and not data.endswith(JPEG_END):
            data += JPEG_END  # so that a truncated file is read as by cv2.imread, with the rest gray
        picture = decode_picture(data, shrunk, self._converter(index, data))
        if picture is None:
            raise VideoError(f"cannot decode image {place} ({len(data)} bytes); get a complete copy")
        return picture

    def _converter(self, index: int, data: bytes) -> FrameConverter | None:
        """Return the converter of images with more than 8 bits, with the range of the first image, whichever is read
        first.
        """
        if not may_be_deep(data):
            return None
        if self._convert is None:
            self._convert = FrameConverter(str(self.folder))
            if index != 0:
                self.picture(0)
        return self._convert

    def is_cut_short(self, index: int) -> bool:
        """Check whether the JPEG of a frame lacks its end marker. Published tools read such files, and so does this
        package.
        """
        data = self.folder.below(self.names[index]).read()
        return data.startswith(JPEG_START) and JPEG_END not in data[-4096:]


# --- archives ----------------------------------------------------------------------------------------------


class _Archive:
    """The files in one zip or tar, by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        self._in_zip: dict[str, zipfile.ZipInfo] = {}
        self._in_tar: dict[str, tuple[int, int]] = {}  # offset and length
        try:
            if path.suffix.lower() == ".zip":
                self._zip = zipfile.ZipFile(path)
                infos = self._zip.infolist()
                self._in_zip = {_plain(info.filename): info for info in infos if not info.is_dir()}
            else:
                self._in_tar = _list_tar(path)
        except Exception as error:  # arbitrary bytes can make a reader fail in any way
            raise InputError(
                f"expected a complete archive; cannot read {path} ({type(error).__name__}: {error}); get it again"
            ) from error
        self._contents: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for name in [*self._in_zip, *self._in_tar]:
            if not any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
                self._add(name)

    def _add(self, name: str) -> None:
        folder, _, file = name.rpartition("/")
        self._contents.setdefault(folder, (set(), set()))[1].add(file)
        while folder:
            above, _, last = folder.rpartition("/")
            self._contents.setdefault(above, (set(), set()))[0].add(last)
            folder = above

    def contents(self, folder: str) -> tuple[set[str], set[str]]:
        folders, files = self._contents.get(folder, (set(), set()))
        return set(folders), set(files)

    def read(self, name: str) -> bytes:
        try:
            if self._zip is not None:
                info = self._in_zip[name]
                check_size(info.file_size, info.compress_size)
                return self._zip.read(info)
            start, size = self._in_tar[name]
            check_size(size, size)
            with self._path.open("rb") as file:
                file.seek(start)
                data = file.read(size)
        except KeyError as error:
            raise FileNotFoundError(2, "not in the archive", f"{self._path}:{name}") from error
        except OSError:
            raise
        except Exception as error:  # of the compression library, or an unknown version or password
            raise OSError(f"the archive is damaged or locked: {error}") from error
        if len(data) < size:
            raise OSError("the archive is truncated")
        return data


def check_size(size: int, packed: int) -> None:
    """Raise OSError for a file that is too large to be read at once, or that has an implausible compression ratio."""
    if size > LARGEST_FILE:
        raise OSError(f"it has {size} bytes; at most {LARGEST_FILE} are read")
    if size > SMALL_FILE and size > LARGEST_RATIO * packed:
        raise OSError(f"its {packed} bytes would unpack to {size}")


def _list_tar(path: Path) -> dict[str, tuple[int, int]]:
    """Return offset and length of each file; raises EOFError for a truncated archive."""
    found, end, size = {}, 0, path.stat().st_size
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            end = member.offset_data + (
                -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE if member.isreg() else 0
            )
            if end > size:
                raise EOFError(f"it ends within {show_value(member.name)}")
            if member.isfile():
                found[_plain(member.name)] = (member.offset_data, member.size)
    with path.open("rb") as file:  # tarfile treats a truncated or damaged header as the end
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError(f"it ends or is damaged at byte {end}, without the mark of its end")
    return found


@lru_cache(maxsize=ARCHIVES_KEPT_OPEN)
def _opened(path: Path, process: int) -> _Archive:
    """Open an archive once per process, because a forked process must not move the file position of its parent."""
    return _Archive(path)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./").strip("/")


def _archives(folder: Path, files: Iterable[str]) -> list[Path]:
    return [folder / name for name in sorted(files) if name.lower().endswith(ARCHIVE_ENDINGS)]


def _unpacked(archive: Path) -> dict[str, str]:
    """Return the folders that unpacking would create next to an archive: name -> location inside."""
    folders, files = _opened(archive, os.getpid()).contents("")
    if files and archive.stem not in folders:
        return {archive.stem: ""}
    return {name: name for name in folders}


def _in_archives(folder: Path, name: str) -> Place | None:
    """Find the folder ``name`` in an archive of ``folder``: first in one with its name, then in any."""
    for ending in ARCHIVE_ENDINGS:
        own = folder / f"{name}{ending}"
        if own.is_file():
            return Place(own, _unpacked(own).get(name, ""))
    for archive in _archives(folder, Place(folder).contents()[1]):
        if name in _unpacked(archive):
            return Place(archive, _unpacked(archive)[name])
    return None
