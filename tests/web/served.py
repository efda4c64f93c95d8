"""What the tests of the page know of the server that they talk to."""

from __future__ import annotations

import pytest

TOKEN = "the-secret-of-this-test-which-is-long"
ADDRESS = "http://127.0.0.1:8713"
FAILED = pytest.StashKey[bool]()  # of a test item: it failed
FRAMES, SIZE_WH = 40, (320, 180)  # of the made clip
