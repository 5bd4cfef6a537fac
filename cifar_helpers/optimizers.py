"""What moves the weights: SGD, AdamW or Muon, and how the learning rate changes."""

import math

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before it moves the weights.

    A convolution's filters, one per row, form a matrix. Its update by momentum is
    dominated by few directions; Muon (Jordan et al. 2024, "Muon: An optimizer for
    hidden layers in neural networks") replaces it by the nearest matrix whose
    directions all have the same length, so that rare directions are learned as fast as
    common ones. With gradient g, rate r and decay w, for an m x n matrix W:

        M <- momentum M + g
        W <- (1 - r w) W - r sqrt(max(1, m / n)) orthogonalize(momentum M + g)

    Matrices of one shape are made orthogonal together: a GPU is told once for all.
    Groups with `orthogonal=False` (vectors, depthwise filters) follow SGD with Nesterov
    momentum instead; their decay is added to the gradient, as in `torch.optim.SGD`.
    `torch.optim.Muon` takes matrices only, and computes in bfloat16, which many CPUs
    lack. The first dimension of a parameter gives the rows, all others the columns.
    Raises ValueError for a default below 0.
    """

    def __init__(self, params, lr, momentum=0.9, weight_decay=0.0, orthogonal=True):
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        for name, value in numbers.items():
            if not value >= 0:
                raise ValueError(f"{name} must not be below 0, got {value}")
        super().__init__(params, numbers | {"orthogonal": orthogonal})

    @torch.no_grad()
    def step(self, closure=None):
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                update = self._orthogonal_step if group["orthogonal"] else self._step
                update(parameters, [p.grad for p in parameters], group)
        return loss

    def _orthogonal_step(self, parameters, gradients, group) -> None:
        updates = self._nesterov(parameters, gradients, group)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        by_shape = {}
        for parameter, update in zip(parameters, updates, strict=True):
            matrix = update.reshape(len(update), -1)
            by_shape.setdefault(matrix.shape, []).append((parameter, matrix))
        for (rows, columns), pairs in by_shape.items():  # each shape's all at once
            matrices = orthogonalize(torch.stack([matrix for _, matrix in pairs]))
            rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for (parameter, _), matrix in zip(pairs, matrices, strict=True):
                parameter.sub_(matrix.view_as(parameter), alpha=rate)

    def _step(self, parameters, gradients, group) -> None:
        decayed = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        updates = self._nesterov(parameters, decayed, group)
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def _nesterov(self, parameters, gradients, group) -> list[Tensor]:
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        averages = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_mul_(averages, group["momentum"])
        torch._foreach_add_(averages, gradients)
        return torch._foreach_add(gradients, averages, alpha=group["momentum"])


def orthogonalize(matrix: Tensor, steps: int = 4) -> Tensor:
    """Nearly U V^T, where the m x n `matrix` is U S V^T: singular values near one.

    Several matrices (count, m, n) are treated each by itself.

    A polynomial of odd degree acts on the singular values alone; four rounds of this
    one bring those above a hundredth of the norm to between about 0.5 and 1.3
    (Newton-Schulz iteration with the coefficients of Jordan et al. 2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    x = x / (norm + 1e-7)  # all singular values are at most one
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def make_optimizer(model: nn.Module, recipe) -> torch.optim.Optimizer:
    """The optimizer that a Recipe names.

    "sgd": with Nesterov momentum. "adamw": Loshchilov & Hutter 2019, algorithm 2.
    "muon": for dense convolutions, at `learning_rate`; everything else by SGD, at
    `sgd_learning_rate`. Biases and batch normalization's two numbers per channel are
    not decayed.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
    others = [p for p in parameters if p.ndim > 1]
    if recipe.optimizer == "muon":
        dense = [p for p in others if p.ndim == 4 and p.shape[1] > 1]
        rest = [p for p in others if p.ndim != 4 or p.shape[1] == 1]
        slow = {"orthogonal": False, "lr": recipe.sgd_learning_rate}
        groups = [
            {"params": dense, "weight_decay": recipe.weight_decay},
            {"params": rest, "weight_decay": recipe.sgd_weight_decay, **slow},
            {**vectors, **slow},
        ]
        return Muon(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    groups = [{"params": others, "weight_decay": recipe.weight_decay}, vectors]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )


def warmup_cosine(step: int, steps: int, warmup_fraction: float) -> float:
    """Share of the highest learning rate at a step: a linear rise, then half a cosine.

    The decay is that of Loshchilov & Hutter 2017 (SGDR, equation 5), without restarts.
    """
    warmup = warmup_fraction * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * progress))


def make_schedule(optimizer: torch.optim.Optimizer, recipe, steps: int):
    """A scheduler that sets the rates of a run of so many steps, once a step."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, steps, recipe.warmup_fraction)
    )
