"""Build the network of a config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from singletrack.errors import InputError
from singletrack.models import dasiamrpn, ostrack, siamrpn, stark, two_stream
from singletrack.models.configs import (
    AlignedConfig,
    DaSiamRPNConfig,
    NetworkConfig,
    OSTrackConfig,
    SiamRPNConfig,
    STARKConfig,
)

AnyNetwork = ostrack.OSTrack | stark.STARK | siamrpn.SiamRPN | dasiamrpn.DaSiamRPN | two_stream.Aligned

BUILDERS: dict[type[NetworkConfig], Callable[..., AnyNetwork]] = {
    OSTrackConfig: ostrack.build_ostrack,
    STARKConfig: stark.build_stark,
    SiamRPNConfig: siamrpn.build_siamrpn,
    DaSiamRPNConfig: dasiamrpn.build_dasiamrpn,
    AlignedConfig: two_stream.build_aligned,
}


def build_network(config: NetworkConfig, keep_ratio: float | None = None) -> AnyNetwork:
    """Build the network of a config, freshly initialized.

    Args:
        config: a row's ``network`` in ``registry.MODELS``, or your own.
        keep_ratio: share of the search tokens that each elimination keeps; None for the config's own.

    Raises:
        InputError: for a keep ratio where nothing is eliminated.
    """
    arguments: dict[str, Any] = {}
    if keep_ratio is not None:
        if not config.eliminates:
            raise InputError(
                f"a keep ratio needs a network that eliminates tokens; got {keep_ratio} for a "
                f"{type(config).__name__}; leave it out"
            )
        arguments["keep_ratio"] = keep_ratio
    return BUILDERS[type(config)](config, **arguments)
