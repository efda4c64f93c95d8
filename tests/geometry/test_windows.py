from __future__ import annotations

import numpy as np
import pytest

from singletrack.geometry.windows import hann_window


def test_hann_window_ends_above_zero_and_is_symmetric() -> None:
    window = hann_window(16)
    assert window.shape == (16, 16)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window[0, 7] / window[7, 7], 0.0338 / 0.9915, rtol=2e-3)
    np.testing.assert_allclose(window, window[::-1, ::-1], atol=1e-7)
    np.testing.assert_allclose(window, window.T)


def test_the_window_that_is_kept_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        hann_window(16)[0, 0] = 1
