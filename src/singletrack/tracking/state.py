"""A tracker's state as bytes and back, without pickle: bytes from elsewhere can only hold numbers, text and arrays."""

from __future__ import annotations

import io
import json
import types
import typing
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError
from singletrack.tracking.common import FIXED_SETTINGS

FORMAT = "singletrack tracker 1"
LARGEST_BYTES = 200_000_000  # of the content; a file that unpacks to more is refused


class KeepsState:
    """What every tracker of this package has: its state as bytes.

    Attributes:
        origin: model and options that the tracker was loaded with; None if it was made by hand.
    """

    origin: Mapping[str, Any] | None = None

    def state(self) -> bytes:
        """Return the state of the target between two frames, for ``singletrack.restore``.

        The bytes hold the settings, the templates and the last boxes, but no weights; some 100 kB. They contain no
        code, and can be sent to another machine. A restored tracker goes on as this one would, to the bit on the same
        engine and processor.

        Raises:
            InputError: before ``init``.
        """
        target: Any = self
        kind, settings = type(self).__name__, target.settings
        return to_bytes({"origin": self.origin, "kind": kind, "settings": settings, "target": target.get_state()})

    def continue_from(self, content: Mapping[str, Any]) -> None:
        """Take over settings and target of a state that ``from_bytes`` unpacked.

        Raises:
            InputError: if it is the state of another kind of tracker, or of a network of other crops.
        """
        target: Any = self
        if content.get("kind") != type(self).__name__:
            raise InputError(
                f"this is the state of a {content.get('kind')}; got a {type(self).__name__} to continue it; load the "
                "model that saved it"
            )
        settings = rebuild(type(target.settings), content.get("settings"))
        for name in FIXED_SETTINGS:
            if getattr(settings, name, None) != getattr(target.settings, name, None):
                raise InputError(
                    f"this state is of a network with {name} {getattr(settings, name)}; got one with "
                    f"{getattr(target.settings, name)}; load the model that saved it"
                )
        target.settings = settings
        target.set_state(content.get("target"))


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """Pack nested mappings, sequences, dataclasses, numbers, text, None and arrays as an .npz file."""
    arrays: list[NDArray[Any]] = []
    text = json.dumps({"format": FORMAT, **_plain(content, arrays)})
    file = io.BytesIO()
    named = {f"array{number}": array for number, array in enumerate(arrays)}
    np.savez(file, allow_pickle=False, content=np.frombuffer(text.encode(), np.uint8), **named)
    return file.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """Unpack what ``to_bytes`` packed. Dataclasses come as mappings and tuples as lists; see ``rebuild``.

    Raises:
        InputError: for anything else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(each.file_size for each in archive.infolist()) > LARGEST_BYTES:
                raise ValueError("too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content = json.loads(arrays.pop("content").tobytes())
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        restored = _with_arrays(content, arrays)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"expected the bytes that a tracker's state() returned; got {len(data)} other bytes ({error}); save the "
            "state again"
        ) from error
    assert isinstance(restored, dict)
    return restored


def rebuild(hint: Any, value: Any) -> Any:
    """Turn plain content into the type that an annotation names: dataclasses, tuples, lists, optional values.

    Raises:
        InputError: for content that does not fit.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return rebuild(next(each for each in arguments if each is not type(None)), value)
    if origin is tuple:
        _require(isinstance(value, list), hint, value)
        if arguments[-1] is Ellipsis:
            return tuple(rebuild(arguments[0], each) for each in value)
        _require(len(value) == len(arguments), hint, value)
        return tuple(rebuild(each, part) for each, part in zip(arguments, value, strict=True))
    if origin is list:
        _require(isinstance(value, list), hint, value)
        return [rebuild(arguments[0], each) for each in value]
    if isinstance(hint, type) and is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        names = {field.name for field in fields(hint)}
        _require(isinstance(value, dict) and value.keys() <= names, hint, value)
        try:
            return hint(**{name: rebuild(hints[name], each) for name, each in value.items()})
        except TypeError as error:
            raise _misfit(hint, value) from error
    if hint is float:
        _require(isinstance(value, int | float) and not isinstance(value, bool), hint, value)
        return float(value)
    if hint in (int, bool, str):
        _require(type(value) is hint, hint, value)
    elif origin is np.ndarray:
        _require(isinstance(value, np.ndarray), hint, value)
    return value


def features_to_array(features: Any) -> NDArray[Any] | None:
    """The features of a network as an array, also where they are a tensor."""
    if features is None or isinstance(features, np.ndarray):
        return features
    array: NDArray[Any] = features.detach().float().cpu().numpy()
    return array


def array_to_features(array: NDArray[Any] | None, like: Any) -> Any:
    """The inverse, as features of the kind of `like`, which the network returned."""
    return array if array is None or isinstance(like, np.ndarray) else like.new_tensor(array)


def _plain(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name), arrays) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each, arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, arrays) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _with_arrays(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array"}:
            return arrays[f"array{value['array']}"]
        return {key: _with_arrays(each, arrays) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_arrays(each, arrays) for each in value]
    return value


def _require(fits: bool, hint: Any, value: Any) -> None:
    if not fits:
        raise _misfit(hint, value)


def _misfit(hint: Any, value: Any) -> InputError:
    return InputError(
        f"this state is of another tracker or version: expected {getattr(hint, '__name__', hint)}, got "
        f"{type(value).__name__}; restore it with the version that saved it"
    )
