"""Checkpoints that were made to do harm: they are refused, at once and with little memory."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from singletrack.errors import LONGEST_MESSAGE, CheckpointError
from singletrack.models import checkpoints
from singletrack.models.checkpoints import read_weights, save_safetensors

PROTO, STOP = b"\x80\x02", b"."
ORDERED = b"ccollections\nOrderedDict\n"
STORAGE = b"X\x07\x00\x00\x00storagectorch\nFloatStorage\n"


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def doubled(times: int) -> bytes:
    """A tuple that holds one twice, which holds one twice, ..."""
    return b")" + b"2\x86" * times


def write_zip(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in files.items():
            archive.writestr(f"archive/data/{name.removeprefix('storage_')}", content)
    return path


def write_legacy(path: Path, pickled: bytes, keys: list[str] | None = None, tail: bytes = b"") -> Path:
    parts: list[Any] = [checkpoints.LEGACY_MAGIC, 1001, {}]
    magic, protocol, system = (pickle.dumps(each, 2) for each in parts)
    path.write_bytes(magic + protocol + system + pickled + pickle.dumps(keys or [], 2) + tail)
    return path


def endless(kind: str) -> bytes:
    """A pickle that asks for more work than there is time."""
    extra = b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01"
    return {
        "key": PROTO + b"}" + doubled(60) + b"K\x01s" + STOP,
        "member": b"\x80\x04\x8f(" + doubled(60) + b"\x90" + STOP,
        "frozen member": b"\x80\x04(" + doubled(60) + b"\x91" + STOP,
        "key of items": PROTO + ORDERED + b"((" + doubled(60) + b"K\x01tltR" + STOP,
        "storage": PROTO + doubled(60) + b"Q" + STOP,
        "extra of storage": PROTO + b"(" + STORAGE + extra + doubled(60) + b"tQ" + STOP,
        "name of storage": PROTO + b"(" + STORAGE + b"]" + b"2\x86" * 60 + b"X\x03\x00\x00\x00cpuK\x01tQ" + STOP,
        "deep": PROTO + b"}" + b")" + b"\x85" * 900_000 + b"K\x01s" + STOP,
        "many classes": PROTO + b"cmod\nName\n0" * 1_000_000 + b"}" + STOP,
        "many steps": PROTO + b"]0" * 2_000_000 + b"}" + STOP,
        "a long key again and again": PROTO + b"(" + b"K\x01" * 200_000 + b"tq\x000}" + b"h\x00K\x01s" * 200_000 + STOP,
        "long arguments again and again": PROTO
        + ORDERED
        + b"q\x010("
        + b"(K\x01K\x02t" * 100_000
        + b"l\x85q\x000"
        + b"h\x01h\x00R0" * 100_000
        + b"}"
        + STOP,
    }[kind]


@pytest.mark.parametrize("layout", [write_zip, write_legacy])
@pytest.mark.parametrize(
    "kind",
    [
        "key",
        "member",
        "frozen member",
        "key of items",
        "storage",
        "extra of storage",
        "name of storage",
        "deep",
        "many classes",
        "many steps",
        "a long key again and again",
        "long arguments again and again",
    ],
)
def test_endless_work_is_refused(kind: str, layout: Callable[[Path, bytes], Path], tmp_path: Path) -> None:  # C4, C5
    with pytest.raises(CheckpointError, match="expected") as caught:
        read_weights(layout(tmp_path / "file.pth", endless(kind)))
    assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_what_a_pickle_does_to_a_mapping_has_no_effect(tmp_path: Path) -> None:  # C6: its slot `values` became a string
    pickled = PROTO + ORDERED + b")RN}U\x06valuesU\x03abcs\x86b" + STOP
    with pytest.raises(CheckpointError, match="expected named tensors"):
        read_weights(write_zip(tmp_path / "file.pth", pickled))


def test_a_few_bytes_cannot_ask_for_gigabytes(tmp_path: Path) -> None:  # C17: a place 4e8 in the unpickler's memory
    path = tmp_path / "file.pth"
    path.write_bytes(PROTO + b"}r" + struct.pack("<I", 400_000_000) + STOP)
    with pytest.raises(CheckpointError, match="got another pickle"):
        read_weights(path)


def test_compressed_storages_are_bounded(tmp_path: Path) -> None:  # C17: 3 MB became 3 GB
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(5_000_000)}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(tmp_path / "file.pth", "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            out.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match="not compressed"):
        read_weights(tmp_path / "file.pth")


def test_a_compressed_pickle_is_bounded(tmp_path: Path) -> None:  # C17: 4 MB became 4 GB
    pickled = PROTO + b"}" + b"\x00" * (checkpoints.LARGEST_PICKLE + 1)
    with pytest.raises(CheckpointError, match="at most"):
        read_weights(write_zip(tmp_path / "file.pth", pickled, zipfile.ZIP_DEFLATED))


def test_a_vast_header_of_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{" + b" " * 100)
    with pytest.raises(CheckpointError, match="expected a header of at most"):
        read_weights(tmp_path / "file.safetensors")


def test_a_legacy_storage_without_its_numbers_is_refused(tmp_path: Path) -> None:
    """Such a tensor would hold what was in the memory before."""
    pid = b"(" + STORAGE + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + b"K\x00K\x02\x85K\x01\x85tR"
    pickled = PROTO + b"}X\x01\x00\x00\x00a" + tensor + b"s" + STOP
    whole = write_legacy(tmp_path / "whole.pth", pickled, ["0"], struct.pack("<Qff", 2, 1.5, 2.5))
    assert read_weights(whole)["a"].tolist() == [1.5, 2.5]
    with pytest.raises(CheckpointError, match="numbers of each storage once"):
        read_weights(write_legacy(tmp_path / "file.pth", pickled, [], b" " * 100))


def test_equal_weights_give_equal_bytes(tmp_path: Path) -> None:  # C13: in one of five the metadata stood otherwise
    weights = {name: torch.arange(3.0) for name in ("b", "a", "c")}
    contents = set()
    for number in range(20):
        save_safetensors(weights, tmp_path / str(number), "ostrack-tiny")
        contents.add((tmp_path / str(number)).read_bytes())
    assert len(contents) == 1
    assert read_weights(tmp_path / "0")["c"].tolist() == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, range(20)))
