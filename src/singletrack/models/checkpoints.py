"""Weights from files: other people's checkpoints and safetensors, under our names, without running the files' code.

Those checkpoints are pickles that hold objects of the training code beside the weights. They are read
here by an unpickler that knows tensors and plain containers, and makes an inert stand-in of everything else.
A name table (``names``) then meets the network strictly: nothing missing, nothing left over.
"""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from singletrack.errors import CheckpointError
from singletrack.files import atomic_write
from singletrack.models.build import build_network
from singletrack.models.checkpoint_keys import COUNT, Table, mmtracking_keys, official_keys
from singletrack.models.configs import NetworkConfig

# The first number in a checkpoint written before PyTorch 1.6 (torch.serialization.MAGIC_NUMBER).
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
HOLDERS = ("net", "state_dict", "model")  # where other people's checkpoints keep the weights
WRAPPED = "module."  # what PyTorch's wrappers for several devices put before every name
NAMED_AT_MOST = 3  # mismatches of a kind that an error spells out; the rest are counted


def load_weights(module: nn.Module, path: str | os.PathLike[str], model_name: str) -> None:
    """Fill a network with the weights of a file, official or ours.

    Raises CheckpointError, naming the first mismatches, unless every tensor of the network is in the file
    with the same shape and nothing else is.
    """
    expected, config = module.state_dict(), getattr(module, "config", None)
    weights = _counted(_under_our_names(read_weights(path), config), expected)
    _check(weights, expected, path, model_name, config)
    module.load_state_dict(weights)


def convert(
    source: str | os.PathLike[str],
    config: NetworkConfig,
    out: str | os.PathLike[str],
    *,
    name: str,
    half: bool = False,
    other: str | os.PathLike[str] | None = None,
    share: float = 0.5,
) -> None:
    """Read weights, an official checkpoint or ours, and write them as safetensors under our names.

    half: round every tensor of two or more dimensions to 16 bits. other: a file of weights that were trained on from
    these, or from the same; with a ``share`` of them mixed in, see ``blend``. Raises CheckpointError when a file
    does not hold this model, InputError for a model that there is not.
    """
    with torch.device("meta"):  # shapes alone: nothing is drawn at random
        expected = build_network(config).state_dict()

    def checked(path: str | os.PathLike[str]) -> dict[str, Tensor]:
        weights = _counted(_under_our_names(read_weights(path), config), expected)
        _check(weights, expected, path, name, config)
        return weights

    weights = checked(source)
    if other is not None:
        weights = blend(weights, checked(other), share)
    if half:
        weights = {key: tensor.half() if tensor.dim() > 1 else tensor for key, tensor in weights.items()}
    save_safetensors(weights, out, name)


def blend(weights: Mapping[str, Tensor], others: Mapping[str, Tensor], share: float = 0.5) -> dict[str, Tensor]:
    """Weights of one network with a ``share`` of other ones mixed in; counts, which are whole numbers, stay.

    It works where both were trained on from the same weights: the mixture keeps most of what either can, and is often
    better than both on what neither saw (Wortsman et al., "Model soups" and "Robust fine-tuning of zero-shot models",
    2022).
    """
    return {
        name: torch.lerp(value.float(), others[name].float(), share) if value.is_floating_point() else value
        for name, value in weights.items()
    }


def save_safetensors(weights: Mapping[str, Tensor], out: str | os.PathLike[str], model_name: str) -> None:
    """Write weights with the model's name beside them; the file appears whole or not at all."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    with atomic_write(out) as unfinished:  # safetensors' own writer leaves a file that only its owner may read
        unfinished.write_bytes(safetensors.torch.save(copies, {"format": "pt", "model": model_name}))


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file by the names that stand in it, on the CPU.

    Takes safetensors and what torch.save wrote, before and since PyTorch 1.6: a mapping of names to tensors, or
    one that holds such a mapping under "net", as official checkpoints do, "state_dict", as MMTracking's do, or "model",
    as those of MAE and DeiT.
    Runs no code from the file. Raises CheckpointError for files that are absent, empty, cut short, of another kind
    or without weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"expected a file of weights; got {path}, which is no file; check the path")
    with path.open("rb") as stream:
        start = stream.read(9)
        stream.seek(0)
        try:
            if start[8:] == b"{":  # first: before it stands a length, which may look like any of the others
                content = safetensors.torch.load_file(path)
            elif start.startswith(b"PK"):
                content = _read_zip(stream)
            elif start.startswith(b"\x80"):
                content = _read_legacy(stream, path.stat().st_size)
            else:
                got = f"which starts with {start!r}" if start else "which is empty"
                raise CheckpointError(f"expected safetensors or a PyTorch checkpoint; got {path}, {got}; {FETCH}")
        except CheckpointError:
            raise
        except Exception as error:  # arbitrary bytes can make a reader fail in any way
            raise CheckpointError(
                f"expected a whole checkpoint; got {path}, which cannot be read to its end "
                f"({type(error).__name__}: {error}); {FETCH}"
            ) from error
    return _pick_weights(content, path)


FETCH = "fetch the file again and compare its size with the original's"


def _pick_weights(content: Any, path: Path) -> dict[str, Tensor]:
    weights = content
    for holder in HOLDERS:
        if isinstance(content, dict) and holder in content:
            weights = content[holder]
    if not isinstance(weights, dict) or not any(isinstance(value, Tensor) for value in weights.values()):
        held = ", ".join(map(str, list(content)[:NAMED_AT_MOST])) if isinstance(content, dict) else "no mapping"
        raise CheckpointError(
            'expected named tensors, or a mapping that holds them under "net", "state_dict" or "model"; got '
            f"{path} with {held}; give the checkpoint of a whole tracker"
        )
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"expected only named tensors as weights; got {name!r} in {path}; give an official checkpoint"
            )
    if all(name.startswith(WRAPPED) for name in weights):
        return {name.removeprefix(WRAPPED): tensor for name, tensor in weights.items()}
    return dict(weights)


# --- names ---


def _under_our_names(weights: dict[str, Tensor], config: NetworkConfig | None) -> dict[str, Tensor]:
    """Other people's names turned into ours, unused tensors dropped; names in no table stay as they are.

    Whose names they are is told by how many of them are known.
    """
    tables = [] if config is None else [official_keys(config), mmtracking_keys(config)]
    names: Table = max(tables, key=lambda table: len(weights.keys() & table.keys()), default={})
    if len(weights.keys() & names.keys()) <= len(weights.keys() & set(names.values())):
        return weights
    renamed = {names.get(name, name): tensor for name, tensor in weights.items()}
    return {name: tensor for name, tensor in renamed.items() if name is not None}


def _counted(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, and 0 for each count of batches that they lack: PyTorch before 0.4.1 kept none; nobody uses it."""
    lacking = [name for name in expected if name.endswith(COUNT) and name not in weights]
    return {**weights, **{name: torch.zeros((), dtype=torch.int64) for name in lacking}}


def _check(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    model_name: str,
    config: NetworkConfig | None,
) -> None:
    """Raise CheckpointError unless names and shapes agree."""
    official = {ours: name for name, ours in (official_keys(config) if config else {}).items()}

    def spell(name: str) -> str:
        other = official.get(name, name)
        return name if other == name else f"{name} (officially {other})"

    mismatches = (
        [f"missing {spell(name)}" for name in expected if name not in weights],
        [f"unexpected {name}" for name in weights if name not in expected],
        [
            f"{spell(name)} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    )
    if any(mismatches):
        named = [text for kind in mismatches for text in kind[:NAMED_AT_MOST]]
        unnamed = sum(map(len, mismatches)) - len(named)
        raise CheckpointError(
            f"expected the {len(expected)} tensors of {model_name}; got {path} with {len(weights)}: "
            f"{'; '.join(named)}{f'; and {unnamed} more' if unnamed else ''}; "
            "name the model that the weights were trained for"
        )


# --- reading pickles without running them ---


class _Inert:
    """Stands in for an object of any class that is not ours to make: takes everything, does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __call__(self, *args: object) -> _Inert:
        return self

    def ignore(self, *args: object) -> None:
        """Whatever a pickle does to an object after making it."""

    __setstate__ = __setitem__ = append = extend = add = ignore


class _SafeUnpickler(pickle.Unpickler):
    """Makes tensors, ordered dicts and plain containers; every other name in the file becomes inert.

    A pickle can call only what `find_class` hands it, so that is the whole of what a file can make happen.
    """

    def __init__(self, stream: BinaryIO, read_storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        super().__init__(stream, encoding="latin1")
        self.read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return lambda *args: _rebuild_tensor(*args[:4])
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *args: data
        return type("Inert", (_Inert,), {})

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(part is not None for part in pid[5:]):
            raise CheckpointError(f"expected a plain storage; got {pid!r}; save the weights again with a new PyTorch")
        return self.read_storage(str(key), dtype, int(count))


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    if math.prod(size) > storage.numel():  # more elements than bytes: a small file must not fill the memory
        raise CheckpointError(f"expected at most {storage.numel()} elements; got a tensor of {size}; {FETCH}")
    return storage.as_strided(size, stride, offset)


def _read_zip(stream: BinaryIO) -> Any:
    """What torch.save writes since PyTorch 1.6: a zip of one pickle and one file for each storage."""
    with zipfile.ZipFile(stream) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise CheckpointError(
                f"expected a zip with one data.pkl, as of torch.save; got {len(pickles)}; give such a file"
            )
        folder = pickles[0].split("/")[0]
        if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
            raise CheckpointError("expected little-endian numbers; got big-endian; save the weights on another machine")
        storages: dict[str, Tensor] = {}

        def read_storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            if key not in storages:
                record = archive.getinfo(f"{folder}/data/{key}")
                wanted = count * dtype.itemsize
                if record.file_size != wanted:
                    got = f"got {record.file_size}"
                    raise CheckpointError(f"expected {wanted} bytes in {record.filename}; {got}; {FETCH}")
                storages[key] = torch.empty(count, dtype=dtype)
                with archive.open(record) as source:
                    _fill(storages[key], source)
            return storages[key]

        with archive.open(pickles[0]) as source:
            return _SafeUnpickler(source, read_storage).load()  # type: ignore[arg-type]


def _read_legacy(stream: BinaryIO, file_size: int) -> Any:
    """What torch.save wrote before PyTorch 1.6: five pickles in a row, then the storages' bytes."""
    storages: dict[str, Tensor] = {}

    def promise_storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in storages:
            if not 0 <= count * dtype.itemsize <= file_size:
                raise CheckpointError(f"expected a storage within {file_size} bytes; got {count} numbers; {FETCH}")
            storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    def unpickle() -> Any:
        return _SafeUnpickler(stream, promise_storage).load()

    if unpickle() != LEGACY_MAGIC:
        raise CheckpointError("expected a checkpoint of PyTorch; got another pickle; give a file that torch.save wrote")
    _protocol, _system = unpickle(), unpickle()
    content = unpickle()
    for key in unpickle():
        count = int.from_bytes(stream.read(8), "little")
        if count != storages[key].numel():
            raise CheckpointError(f"expected {storages[key].numel()} numbers in storage {key}; got {count}; {FETCH}")
        _fill(storages[key], stream)
    return content


def _fill(storage: Tensor, source: Any) -> None:
    """Read the bytes of a storage in place."""
    wanted = storage.numel() * storage.dtype.itemsize
    if wanted and source.readinto(storage.view(torch.uint8).numpy()) != wanted:
        raise CheckpointError(f"expected {wanted} more bytes of weights; the file ends before; {FETCH}")
