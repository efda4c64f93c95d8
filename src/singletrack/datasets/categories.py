"""Draws another target of the same or of another category, for negative training pairs (DaSiamRPN, Section 3.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.photos import Random
from singletrack.errors import InputError

DRAWN_AT_MOST = 200  # failed draws in a row that indicate wrong data


class Target(NamedTuple):
    """A target: index of its data set, and its number there."""

    dataset: int
    number: int


class Categories:
    """The categories of the targets of several data sets, which count as one: a car is a car in each.

    Args:
        names: for each data set, (n,) the category of each of its targets; empty if unknown.
    """

    def __init__(self, names: Sequence[NDArray[np.bytes_]]) -> None:
        self.names = list(names)
        members: dict[bytes, list[NDArray[np.intp]]] = defaultdict(list)
        for dataset, each in enumerate(self.names):
            for name in np.unique(each):
                numbers = np.flatnonzero(each == name)
                members[bytes(name)].append(np.stack([np.full_like(numbers, dataset), numbers], 1))
        self.members = {name: np.concatenate(parts) for name, parts in members.items() if name}

    def of(self, target: Target) -> str:
        """Return the category of a target; empty if unknown."""
        return bytes(self.names[target.dataset][target.number]).decode()

    def same(self, random: Random, target: Target) -> Target | None:
        """Draw another target of the same category; None if there is no other, or the category is unknown."""
        members = self.members.get(self.of(target).encode(), ())
        while len(members) > 1:
            other = Target(*map(int, members[random.integers(len(members))]))
            if other != target:
                return other
        return None

    def different(self, random: Random, target: Target, draw: Callable[[], Target]) -> Target:
        """Draw another target that is not known to have the same category; raises InputError if none is found."""
        name = self.of(target)
        for _ in range(DRAWN_AT_MOST):
            other = draw()
            if other != target and not (name and self.of(other) == name):
                return other
        raise InputError(
            f"expected targets of several categories for negative pairs; got {DRAWN_AT_MOST} in a row like one of "
            f"{name or 'no known category'}; add data, or set negatives to 0"
        )

    def other(self, random: Random, target: Target, same_category: float, draw: Callable[[], Target]) -> Target:
        """Draw another target: with a probability one of the same category, if there is any; else one of another."""
        found = self.same(random, target) if random.random() < same_category else None
        return found or self.different(random, target, draw)
