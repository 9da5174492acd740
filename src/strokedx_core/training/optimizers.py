"""What moves a network's weights: AdamW, or Muon for its filters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon

from strokedx_core.training.config import TrainingConfig

__all__ = ["FilterMuon", "make_optimizer"]

_OTHERS = 0.25
"""Learning rate of what Muon does not move, as a share of Muon's."""


class FilterMuon:
    """Muon for a network's filters, AdamW for its biases, norms and last layer.

    Muon turns each step of a matrix into one in which all directions count alike (Jordan et al.,
    "Muon", 2024). A filter counts as a matrix of one row for each channel that it makes.

    Parameters
    ----------
    model : Module
        Its last layer is named "output".
    weight_decay : float

    Attributes
    ----------
    param_groups : list of dict
        Muon's, then AdamW's; "share" is the learning rate as a share of the run's.
    """

    def __init__(self, model: nn.Module, weight_decay: float) -> None:
        self._filters: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            inner = parameter.ndim == 5 and not name.startswith("output.")
            (self._filters if inner else others).append(parameter)
        self._matrices = [nn.Parameter(each.detach().flatten(1).clone()) for each in self._filters]
        self._muon = Muon(self._matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
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


def make_optimizer(model: nn.Module, config: TrainingConfig) -> AdamW | FilterMuon:
    """The optimizer that a configuration asks for."""
    if config.optimizer == "muon":
        return FilterMuon(model, config.weight_decay)
    return AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
