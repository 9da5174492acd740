"""What moves a network's weights: AdamW, or Muon for its filters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.config import TrainingConfig

__all__ = ["FilterMuon", "make_optimizer"]

_OTHERS = 0.25
"""Learning rate of what Muon does not move, as a share of Muon's."""


class _Float32Muon(Muon):
    """PyTorch's Muon, its matrices made orthogonal in float32.

    PyTorch does that in bfloat16, which many a processor only emulates: there it takes longer than
    the network's own way back.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the matrices against their gradients."""
        for group in self.param_groups:
            rate, inertia = group["lr"], group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                state["momentum_buffer"].lerp_(matrix.grad, 1 - inertia)
                update = _orthogonal(matrix.grad.lerp(state["momentum_buffer"], inertia), group)
                matrix.mul_(1 - rate * group["weight_decay"])
                # As "match_rms_adamw" has it.
                matrix.add_(update, alpha=-0.2 * rate * math.sqrt(max(matrix.shape)))


def _orthogonal(update: Tensor, group: dict[str, Any]) -> Tensor:
    """A matrix with singular values near 1, by Muon's Newton-Schulz iteration.

    Each iteration multiplies the matrix by a polynomial of its Gram matrix. These are gathered, so
    that all work but the first and last product is on the small Gram matrix.
    """
    if update.shape[0] > update.shape[1]:
        return _orthogonal(update.T, group).T
    a, b, c = group["ns_coefficients"]
    matrix = update / update.norm().clamp_min(group["eps"])
    gram = matrix @ matrix.T
    one = torch.eye(len(gram), device=gram.device)
    gathered = one
    for _ in range(group["ns_steps"]):
        factor = a * one + b * gram + c * (gram @ gram)
        gathered = factor @ gathered
        gram = factor @ gram @ factor
    return gathered @ matrix


class FilterMuon:
    """Muon for a network's filters, AdamW for its biases, norms and last layer.

    Muon turns each step of a matrix into one in which all directions count alike (Jordan et al.,
    "Muon", 2024). A filter counts as a matrix of one row for each channel that it makes.

    Parameters
    ----------
    model : Module
    output : Module
        The layer whose output are the logits.
    weight_decay : float

    Attributes
    ----------
    param_groups : list of dict
        Muon's, then AdamW's; "share" is the learning rate as a share of the run's.
    """

    def __init__(self, model: nn.Module, output: nn.Module, weight_decay: float) -> None:
        self._filters: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        last = {id(parameter) for parameter in output.parameters()}
        for parameter in model.parameters():
            inner = parameter.ndim == 5 and id(parameter) not in last
            (self._filters if inner else others).append(parameter)
        self._matrices = [nn.Parameter(each.detach().flatten(1).clone()) for each in self._filters]
        self._muon = _Float32Muon(self._matrices, weight_decay=weight_decay)
        self._adamw = AdamW([{"params": others, "share": _OTHERS}], weight_decay=weight_decay)
        self.param_groups: list[dict[str, Any]] = [
            *self._muon.param_groups, *self._adamw.param_groups
        ]  # fmt: skip

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights against their gradients."""
        pairs = list(zip(self._matrices, self._filters, strict=True))
        for matrix, each in pairs:
            matrix.copy_(each.flatten(1))
            matrix.grad = None if each.grad is None else each.grad.flatten(1)
        self._muon.step()
        self._adamw.step()
        for matrix, each in pairs:
            each.copy_(matrix.view(each.shape))

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` told."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]


def make_optimizer(model: UNet3D, config: TrainingConfig) -> AdamW | FilterMuon:
    """The optimizer that a configuration asks for."""
    if config.optimizer == "muon":
        return FilterMuon(model, model.output, config.weight_decay)
    return AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
