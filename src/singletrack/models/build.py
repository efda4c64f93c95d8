"""The networks by the names of their models. Knows nothing of weights."""

from __future__ import annotations

from singletrack.errors import InputError
from singletrack.models import dasiamrpn, ostrack, siamrpn, stark, two_stream

Network = ostrack.OSTrack | stark.STARK | siamrpn.SiamRPN | dasiamrpn.DaSiamRPN | two_stream.Aligned


def network_names() -> list[str]:
    """Every name that ``build_network`` takes."""
    return [*ostrack.CONFIGS, *stark.CONFIGS, *siamrpn.CONFIGS, *dasiamrpn.CONFIGS, *two_stream.CONFIGS]


def build_network(name: str, keep_ratio: float | None = None) -> Network:
    """The network of a model, freshly initialized.

    keep_ratio: for OSTrack, the share of the search tokens that an elimination keeps. Raises InputError for a
    name that is none, and for a keep_ratio where nothing is eliminated.
    """
    if name in ostrack.CONFIGS:
        return ostrack.build_ostrack(ostrack.CONFIGS[name], keep_ratio)
    if name not in network_names():
        raise InputError(f"expected a model among {', '.join(network_names())}; got {name!r}; give one of these")
    if keep_ratio is not None:
        raise InputError(f"expected no keep ratio for {name}; got {keep_ratio}; it eliminates no tokens")
    if name in siamrpn.CONFIGS:
        return siamrpn.build_siamrpn(siamrpn.CONFIGS[name])
    if name in dasiamrpn.CONFIGS:
        return dasiamrpn.build_dasiamrpn(dasiamrpn.CONFIGS[name])
    if name in two_stream.CONFIGS:
        return two_stream.build_aligned(two_stream.CONFIGS[name])
    return stark.build_stark(stark.CONFIGS[name])
