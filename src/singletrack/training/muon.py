"""Muon: momentum whose step is made orthogonal, for the matrices inside a transformer. Knows nothing of models.

Source: Jordan et al., "Muon: an optimizer for hidden layers", 2024; the step's size as in Liu et al.,
arXiv 2502.16982, so that AdamW's learning rates and weight decays carry over. PyTorch's own Muon iterates in
bfloat16, which processors without it emulate a hundred times slower; this one keeps the gradient's precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration; chosen by its authors for speed, not for a limit of 1
STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """(n, rows, columns) -> the nearest matrices with all singular values near 1 (0.7 to 1.2), by Newton-Schulz."""
    a, b, c = COEFFICIENTS
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    x = wide / (wide.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if matrices.shape[-2] <= matrices.shape[-1] else x.mT


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, for 2-D parameters; a (3n, n) parameter counts as three square matrices."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step over all parameters that have a gradient; matrices of one shape are iterated together."""
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"])
                rows, columns = parameter.shape
                parts = 3 if rows == 3 * columns else 1
                for view, part in zip(parameter.chunk(parts), update.chunk(parts), strict=True):
                    shapes.setdefault((rows // parts, columns), []).append((view, part))
            for (rows, columns), pairs in shapes.items():
                steps = orthogonalise(torch.stack([part for _, part in pairs]))
                size = 0.2 * group["lr"] * max(rows, columns) ** 0.5  # the root mean square of an AdamW step
                for (view, _), step in zip(pairs, steps, strict=True):
                    view.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-size)
