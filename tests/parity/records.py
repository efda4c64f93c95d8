"""Where the recorded numbers are: beside these tests, and more of them in ../shared on the project's own machines.

tests/parity/data holds what contains no picture, so that a fresh clone proves exactness by itself. Whatever else is in
../shared/fixtures is tested where that folder exists: every file found there for a model of the registry is a case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

Record = Mapping[str, np.ndarray]
Recorded = Callable[[str], Record]

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "fixtures"

# names in the records -> names in the registry
OSTRACK = {
    f"vitb_{size}_mae_{elimination}32x4_{schedule}": f"ostrack-{size}"
    for size in (256, 384)
    for elimination in ("ce_", "")
    for schedule in ("ep300", "got10k_ep100")
}
STARK = {f"stark_{kind}": f"stark-{kind}" for kind in ("s50", "st50", "st101")}
SIAMRPNPP = {
    "siamrpn_r50_l234_dwxcorr": "siamrpnpp-r50",
    "siamrpn_r50_l234_dwxcorr_otb": "siamrpnpp-r50-otb",
    "siamrpn_r50_l234_dwxcorr_lt": "siamrpnpp-r50-lt",
    "siamrpn_mobilev2_l234_dwxcorr": "siamrpnpp-mobilenet",
    "siamrpn_alex_dwxcorr": "siamrpnpp-alex",
}
DASIAMRPN = {"SiamRPNvot": "dasiamrpn-vot", "SiamRPNotb": "dasiamrpn-otb", "SiamRPNBIG": "dasiamrpn-big"}


def is_recorded(name: str) -> bool:
    return any((folder / f"{name}.npz").is_file() for folder in (DATA, SHARED))


@cache
def read_record(name: str) -> Record:
    """The arrays of a record by its name without ending: those of this repository, then those of ../shared.

    Skips the test where neither folder has the record.
    """
    arrays: dict[str, np.ndarray] = {}
    for folder in (SHARED, DATA):
        path = folder / f"{name}.npz"
        if path.is_file():
            with np.load(path) as record:
                arrays.update(record)
    if not arrays:
        pytest.skip(f"needs ../shared/fixtures/{name}.npz, which is not part of the repository")
    return arrays


def with_part(record: Record, key: str) -> Record:
    """The record, if it has that array; else skip: the copies in this repository leave out whatever shows a picture."""
    if key not in record:
        pytest.skip(f"needs {key}, which shows a picture: only the full record in ../shared/fixtures has it")
    return record


def found(pattern: str, names: Mapping[str, str], *others: str) -> list[str]:
    """The published names whose record exists, in the order of the table; the first name if no record exists.

    pattern: the record's name with {} in place of the published name; others: further such patterns.
    """
    recorded = [name for name in names if any(is_recorded(each.format(name)) for each in (pattern, *others))]
    return recorded or list(names)[:1]
