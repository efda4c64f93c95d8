"""Finds the object in the middle of a photo by its colors (GrabCut, Rother et al. 2004), without labels or a network.

If colors do not separate object and background, no object is found. Masks are cached, since finding one takes as
long as training on a pair.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.files import atomic_write
from singletrack.opencv import cv2

Image = NDArray[np.uint8]

LONGEST = 128  # longer side in pixels at which masks are computed
BORDER = 0.04  # of the shorter side: outer pixels that are background
MIDDLE = 0.12  # of each side: inner pixels that are initially object
AREA = (0.03, 0.6)  # of the image: allowed area of an object
LEAST_FILLED = 0.2  # of its box
MOST_CUT = 0.25  # of its width or height may touch the border; more means that it is cut off


def find_object(picture: Image) -> Image | None:
    """Find the object in an image (H, W, 3): (h, w) 0 or 255 at reduced size, connected; None if no object is found."""
    shrink = min(1.0, LONGEST / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    border = max(2, int(BORDER * min(height, width)))
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[border:-border, border:-border] = cv2.GC_PR_BGD
    y, x = int(MIDDLE * height), int(MIDDLE * width)
    labels[y : height - y, x : width - x] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)  # reproducible
    cv2.grabCut(small, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(np.uint8)
    count, parts, facts, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return None
    largest = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    found = parts == largest
    w, h, area = facts[largest, cv2.CC_STAT_WIDTH : cv2.CC_STAT_AREA + 1]
    across = max(found[border].sum(), found[-1 - border].sum()) / w
    down = max(found[:, border].sum(), found[:, -1 - border].sum()) / h
    fits = AREA[0] < area / found.size < AREA[1] and area > LEAST_FILLED * w * h and max(across, down) < MOST_CUT
    return np.where(found, 255, 0).astype(np.uint8) if fits else None


def cached_object(path: Path, picture: Image, folder: Path) -> Image | None:
    """Run ``find_object`` on a photo, with a cache in ``folder``; an empty file means that there is no object."""
    seen = hashlib.blake2b(f"{path.stat().st_size} {picture.shape}".encode(), digest_size=12)
    seen.update(picture[::8, ::8].tobytes())  # not path and times, because photos are moved and copied
    kept = folder / f"{path.stem}-{seen.hexdigest()}.png"
    if kept.exists():
        found = cv2.imread(str(kept), cv2.IMREAD_GRAYSCALE) if kept.stat().st_size else None
        return None if found is None else found.astype(np.uint8)
    mask = find_object(picture)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(kept) as unfinished:
        unfinished.write_bytes(b"" if mask is None else cv2.imencode(".png", mask)[1].tobytes())
    return mask
