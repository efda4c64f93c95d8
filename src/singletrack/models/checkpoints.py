"""Reads weights from official checkpoints and safetensors, maps their names to ours, and runs no code from the files.

Official checkpoints are pickles that contain objects of the training code next to the weights. A restricted
unpickler creates only tensors and plain containers, and inert placeholders for everything else. The names are then
mapped with ``checkpoint_keys`` and compared with the network strictly: nothing missing, nothing left over.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from singletrack.errors import CheckpointError, InputError, show_value
from singletrack.files import atomic_write, writing
from singletrack.models.build import build_network
from singletrack.models.checkpoint_keys import ADDED_EMBEDDINGS, COUNT, Table, mmtracking_keys, official_keys
from singletrack.models.configs import NetworkConfig, change_config, stored_config, stored_fields, variable_fields

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
# What the structure of a checkpoint may take; those of the largest published ones take a hundredth of it.
LARGEST_PICKLE = 1 << 26  # bytes
MOST_STEPS = 1_000_000  # of a pickle
MOST_WORK = 5_000_000  # elements hashed and arguments passed
DEEPEST_TUPLE = 1000
LARGEST_HEADER = 1 << 24  # bytes, of a safetensors file
LARGEST_RATIO = 10  # bytes of weights to those of the file
NAMED_AT_MOST = 3  # mismatches of a kind that an error spells out; the rest are counted


def load_weights(module: nn.Module, path: str | os.PathLike[str], model_name: str) -> None:
    """Load the weights of a file, official or ours, into a network.

    Raises:
        CheckpointError: the file does not have exactly the tensors of the network with equal shapes; the message names
            the first mismatches.
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
    keep_ratio: float | None = None,
) -> None:
    """Read weights, an official checkpoint or ours, and write them as safetensors under our names.

    half: round every tensor of two or more dimensions to 16 bits. other: a file of weights that were trained on from
    these, or from the same; with a ``share`` of them mixed in, see ``blend``. keep_ratio: the keep ratio that the file
    carries from now on; None for that of the source. Raises CheckpointError when a file does not hold this model,
    InputError for a model that there is not, or a keep ratio of a network without elimination.
    """
    fields = stored_fields(source)
    config = stored_config(config, source)
    if keep_ratio is not None:
        if not config.eliminates:
            raise InputError(f"{name} eliminates no tokens; got keep ratio {keep_ratio}; leave it out")
        config = change_config(config, {"keep_ratio": keep_ratio, "keep_ratios": None})
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
    save_safetensors(weights, out, name, config if fields or keep_ratio is not None else None)


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


def save_safetensors(
    weights: Mapping[str, Tensor],
    out: str | os.PathLike[str],
    model_name: str,
    config: NetworkConfig | None = None,
) -> None:
    """Write weights with the name of the model in the metadata, atomically. Equal weights give equal bytes.

    Args:
        weights: the tensors.
        out: the file.
        model_name: name of the model.
        config: config whose variable fields, such as the keep ratio, the file carries; None to carry none.

    Raises:
        SingletrackError: the file cannot be written.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    metadata = {"format": "pt", "model": model_name}
    if config is not None and config.VARIABLE:
        metadata["network"] = json.dumps(variable_fields(config))
    content = with_metadata(safetensors.torch.save(copies), metadata)
    out = Path(out)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(out) as unfinished:  # safetensors' own writer leaves a file that only its owner may read
            unfinished.write_bytes(content)


def with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Replace the metadata of a safetensors file, in this order, because the order of the library is random."""
    length = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + length])
    header = json.dumps({"__metadata__": dict(metadata), **tensors}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a file by their original names, on the CPU, without running code from the file.

    Args:
        path: a safetensors file, or a file from torch.save, before and since PyTorch 1.6: a mapping of names to
            tensors, or one that contains such a mapping under "net" (official trackers), "state_dict" (MMTracking) or
            "model" (MAE and DeiT).

    Raises:
        CheckpointError: the file is missing, empty, truncated, of another kind or without weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"expected a file of weights; got {path}, which is no file; check the path")
    with path.open("rb") as stream:
        start = stream.read(9)
        stream.seek(0)
        try:
            size = path.stat().st_size
            if start[8:] == b"{":  # first: before it stands a length, which may look like any of the others
                header = int.from_bytes(start[:8], "little")
                if header > LARGEST_HEADER:
                    raise CheckpointError(
                        f"expected a header of at most {LARGEST_HEADER} bytes; got {header} in {path}; {FETCH}"
                    )
                content = safetensors.torch.load_file(path)
            elif start.startswith(b"PK"):
                content = _read_zip(stream, size)
            elif start.startswith(b"\x80"):
                content = _read_legacy(stream, size)
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
        named = list(content)[:NAMED_AT_MOST] if isinstance(content, dict) else []
        held = ", ".join(map(show_value, named)) or "no mapping"
        raise CheckpointError(
            'expected named tensors, or a mapping that holds them under "net", "state_dict" or "model"; got '
            f"{path} with {held}; give the checkpoint of a whole tracker"
        )
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"expected only named tensors as weights; got {show_value(name)} in {path}; give an official checkpoint"
            )
    if all(name.startswith(WRAPPED) for name in weights):
        return {name.removeprefix(WRAPPED): tensor for name, tensor in weights.items()}
    return dict(weights)


# --- names ---


def _under_our_names(weights: dict[str, Tensor], config: NetworkConfig | None) -> dict[str, Tensor]:
    """Map official tensor names to ours, and drop unused tensors; unknown names are kept.

    The source with the most known names is chosen.
    """
    tables = [] if config is None else [official_keys(config), mmtracking_keys(config)]
    weights = _with_added_embeddings(weights)
    names: Table = max(tables, key=lambda table: len(weights.keys() & table.keys()), default={})
    if len(weights.keys() & names.keys()) <= len(weights.keys() & set(names.values())):
        return weights
    renamed = {names.get(name, name): tensor for name, tensor in weights.items()}
    return {name: tensor for name, tensor in renamed.items() if name is not None}


def _with_added_embeddings(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add embeddings of the frame to the position embeddings, see ``checkpoint_keys.ADDED_EMBEDDINGS``."""
    added = {name: weights[name] for name in ADDED_EMBEDDINGS if ADDED_EMBEDDINGS[name] in weights and name in weights}
    summed = {name: tensor for name, tensor in weights.items() if name not in added}
    for name, tensor in added.items():
        position = summed[ADDED_EMBEDDINGS[name]]
        if position.dim() != 3 or tensor.shape != (1, 1, position.shape[-1]):
            return weights  # the comparison of names and shapes reports it
        summed[ADDED_EMBEDDINGS[name]] = position + tensor
    return summed


def _counted(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add 0 for missing batch counts, which PyTorch before 0.4.1 did not save and nothing uses."""
    lacking = [name for name in expected if name.endswith(COUNT) and name not in weights]
    return {**weights, **{name: torch.zeros((), dtype=torch.int64) for name in lacking}}


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors with a number that is NaN or infinite; a network with one of them finds nothing."""
    return [
        name for name, tensor in weights.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]


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
        [f"not finite: {spell(name)} (it holds NaN or infinity)" for name in not_finite(weights) if name in expected],
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


# --- reading pickles without running code ---


class _Inert:
    """Placeholder for an object of any other class."""


class _SafeUnpickler(pickle._Unpickler):
    """Makes tensors, ordered dicts and plain containers; every other name in the file becomes inert.

    A pickle can call only what `find_class` hands it, so that is all that a file can make happen. The work it asks for
    is limited: see ``_spend``. It is Python's own unpickler in Python: that in C allocates what the file names.
    """

    if TYPE_CHECKING:  # of the base class, in typeshed as little as in its documentation
        stack: list[Any]
        append: Callable[[Any], None]
        readline: Callable[[], bytes]

        def pop_mark(self) -> list[Any]: ...

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: BinaryIO, read_storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        super().__init__(stream, encoding="latin1")
        self.read_storage = read_storage
        self.work = 0
        self.sizes: dict[int, tuple[int, int, object]] = {}  # of tuples, by id: elements, depth, the tuple itself

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return lambda *args: _rebuild_tensor(*args[:4])
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *args: data
        return _Inert

    def persistent_load(self, pid: Any) -> Tensor:
        whole = isinstance(pid, tuple) and 5 <= len(pid) <= 8 and all(part is None for part in pid[5:])
        if not whole or not isinstance(pid[1], torch.dtype) or pid[0] != "storage" or not isinstance(pid[4], int):
            raise CheckpointError(
                f"expected a plain storage; got {show_value(pid)}; save the weights again with a new PyTorch"
            )
        if not isinstance(pid[2], str | int):
            raise CheckpointError(f"expected a storage with a name; got {show_value(pid[2])}; {FETCH}")
        return self.read_storage(str(pid[2]), pid[1], pid[4])

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MOST_WORK:
            raise CheckpointError(f"expected a checkpoint of named tensors; its pickle asks for endless work; {FETCH}")

    # A tuple may hold another one twice, and so on: 60 of them have 2^60 elements, each of which is hashed.

    def _measure(self) -> None:
        """Note how large the tuple on top of the stack is, with all that is in it."""
        made = self.stack[-1]
        inner = [self.sizes[id(each)] for each in made if id(each) in self.sizes]
        elements = 1 + len(made) + sum(size for size, _, _ in inner)
        depth = 1 + max((depth for _, depth, _ in inner), default=0)
        if elements > MOST_WORK or depth > DEEPEST_TUPLE:
            raise CheckpointError(f"expected a checkpoint of named tensors; got tuples in tuples without end; {FETCH}")
        self.sizes[id(made)] = elements, depth, made

    def _spend_on_keys(self, keys: Iterable[Any]) -> None:
        for key in keys:
            self._spend(self.sizes[id(key)][0] if id(key) in self.sizes else 1)

    def _call(self, function: Any, arguments: Any) -> Any:
        if function is OrderedDict and isinstance(arguments, tuple) and arguments:
            (items,) = arguments
            self._spend(len(items))
            self._spend_on_keys(key for key, _ in items)
            return OrderedDict(items)
        if function is _Inert or isinstance(function, _Inert):
            return _Inert()
        self._spend(len(arguments))
        return function(*arguments)

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def _newobj_ex(self) -> None:
        self.stack.pop()
        self._reduce()

    def _obj(self) -> None:
        function, *arguments = self.pop_mark()
        self.append(self._call(function, tuple(arguments)))

    def _inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        arguments = tuple(self.pop_mark())
        self.append(self._call(self.find_class(module, name), arguments))

    def _build(self) -> None:
        self.stack.pop()  # the state of an object: of no object that is made here is there any

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)
        elif not isinstance(self.stack[-1], _Inert):
            raise CheckpointError(f"expected a list to append to; got {show_value(self.stack[-1])}; {FETCH}")

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key], [value])

    def _setitems(self) -> None:
        items = self.pop_mark()
        self._set(items[::2], items[1::2])

    def _set(self, keys: list[Any], values: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            self._spend_on_keys(keys)
            self.stack[-1].update(zip(keys, values, strict=True))
        elif not isinstance(self.stack[-1], _Inert):
            raise CheckpointError(f"expected a mapping; got {show_value(self.stack[-1])}; {FETCH}")

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items[::2], items[1::2])

    def _additems(self) -> None:
        items = self.pop_mark()
        self._spend_on_keys(items)
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(items)
        elif not isinstance(self.stack[-1], _Inert):
            raise CheckpointError(f"expected a set to add to; got {show_value(self.stack[-1])}; {FETCH}")

    def _frozenset(self) -> None:
        items = self.pop_mark()
        self._spend_on_keys(items)
        self.append(frozenset(items))

    def _tuple(self) -> None:
        items = self.pop_mark()
        self.append(tuple(items))
        self._measure()

    def _tuple_of(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]
        self._measure()

    for _code, _work in (
        (pickle.REDUCE, _reduce),
        (pickle.NEWOBJ, _reduce),
        (pickle.NEWOBJ_EX, _newobj_ex),
        (pickle.OBJ, _obj),
        (pickle.INST, _inst),
        (pickle.BUILD, _build),
        (pickle.APPEND, _append),
        (pickle.APPENDS, _appends),
        (pickle.SETITEM, _setitem),
        (pickle.SETITEMS, _setitems),
        (pickle.DICT, _dict),
        (pickle.ADDITEMS, _additems),
        (pickle.FROZENSET, _frozenset),
        (pickle.TUPLE, _tuple),
        (pickle.TUPLE1, partial(_tuple_of, count=1)),
        (pickle.TUPLE2, partial(_tuple_of, count=2)),
        (pickle.TUPLE3, partial(_tuple_of, count=3)),
    ):
        dispatch[_code[0]] = _work


def _unpickle(stream: BinaryIO, read_storage: Callable[[str, torch.dtype, int], Tensor]) -> Any:
    """The next object of a stream, which lies in memory. Its steps are counted before the first of them is taken."""
    start = stream.tell()
    for number, _ in enumerate(pickletools.genops(stream)):
        if number >= MOST_STEPS:
            raise CheckpointError(f"expected a pickle of at most {MOST_STEPS} steps; got more; {FETCH}")
    stream.seek(start)
    return _SafeUnpickler(stream, read_storage).load()


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    for numbers in (size, stride):
        if not isinstance(numbers, tuple) or len(numbers) > 32 or not all(isinstance(each, int) for each in numbers):
            raise CheckpointError(f"expected sizes and strides as whole numbers; got {show_value(numbers)}; {FETCH}")
    if not all(0 <= each < 1 << 62 for each in (*size, *stride)):
        raise CheckpointError(f"expected sizes of 0 or more; got {show_value((size, stride))}; {FETCH}")
    if math.prod(size) > storage.numel():  # more elements than bytes: a small file must not fill the memory
        raise CheckpointError(
            f"expected at most {storage.numel()} elements; got a tensor of {show_value(size)}; {FETCH}"
        )
    return storage.as_strided(size, stride, offset)


def _read_zip(stream: BinaryIO, file_size: int) -> Any:
    """What torch.save writes since PyTorch 1.6: a zip of one pickle and one file for each storage."""
    with zipfile.ZipFile(stream) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise CheckpointError(
                f"expected a zip with one data.pkl, as of torch.save; got {len(pickles)}; give such a file"
            )
        folder = pickles[0].split("/")[0]
        if f"{folder}/byteorder" in archive.namelist():
            with archive.open(f"{folder}/byteorder") as source:
                if source.read(16) != b"little":
                    raise CheckpointError(
                        "expected little-endian numbers; got big-endian; save the weights on another machine"
                    )
        storages: dict[str, Tensor] = {}
        unpacked = 0

        def read_storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            nonlocal unpacked
            if key not in storages:
                record = archive.getinfo(f"{folder}/data/{key}")
                wanted = count * dtype.itemsize
                unpacked += record.file_size
                if record.file_size != wanted:
                    got = f"got {record.file_size}"
                    raise CheckpointError(f"expected {wanted} bytes in {record.filename}; {got}; {FETCH}")
                if unpacked > LARGEST_RATIO * file_size:
                    raise CheckpointError(
                        f"expected storages that are not compressed, as torch.save writes them; got {unpacked} bytes "
                        f"in a file of {file_size}; save the weights again"
                    )
                storages[key] = torch.empty(count, dtype=dtype)
                with archive.open(record) as source:
                    _fill(storages[key], source)
            return storages[key]

        with archive.open(pickles[0]) as source:
            pickled = source.read(LARGEST_PICKLE + 1)
        if len(pickled) > LARGEST_PICKLE:
            raise CheckpointError(f"expected a data.pkl of at most {LARGEST_PICKLE} bytes; got a larger one; {FETCH}")
        return _unpickle(io.BytesIO(pickled), read_storage)


def _read_legacy(stream: BinaryIO, file_size: int) -> Any:
    """What torch.save wrote before PyTorch 1.6: five pickles in a row, then the storages' bytes."""
    storages: dict[str, Tensor] = {}
    promised = 0

    def promise_storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal promised
        if key not in storages:
            promised += count * dtype.itemsize
            if count < 0 or promised > file_size:
                raise CheckpointError(
                    f"expected storages within {file_size} bytes; got {show_value(count)} numbers; {FETCH}"
                )
            storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    pickles = io.BytesIO(stream.read(LARGEST_PICKLE))
    magic = _unpickle(pickles, promise_storage)
    if not isinstance(magic, int) or magic != LEGACY_MAGIC:
        raise CheckpointError("expected a checkpoint of PyTorch; got another pickle; give a file that torch.save wrote")
    _protocol, _system, content, keys = (_unpickle(pickles, promise_storage) for _ in range(4))
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise CheckpointError(f"expected the numbers of each storage once; got {show_value(keys)}; {FETCH}")
    stream.seek(pickles.tell())
    for key in map(str, keys):
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
