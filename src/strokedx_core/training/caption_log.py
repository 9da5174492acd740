"""What a captioner's training leaves to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from strokedx_core.training.run_log import RunLog
from strokedx_core.volume import write_atomically

__all__ = ["CaptionLog"]

_SHOWN = 50
"""Texts that are kept of each validation."""


class CaptionLog(RunLog):
    """As `RunLog`; a validation leaves accuracies and texts in place of Dice and slices."""

    folders: ClassVar[tuple[str, ...]] = ("captions",)

    def say(self, text: str) -> None:
        """Print a line."""
        self.bar.console.print(text)

    def validated(
        self, step: int, scores: Mapping[str, float], texts: Sequence[tuple[str, str]]
    ) -> None:
        """Note the end of an epoch: a row in the table, curves, texts, a line in words.

        Parameters
        ----------
        step : int
        scores : mapping of str to float
            Accuracy by field.
        texts : sequence of (str, str)
            What was meant and what was written.
        """
        self.row(step, {f"accuracy {name}": value for name, value in scores.items()})
        lines = [f"meant:   {meant}\nwritten: {written}\n" for meant, written in texts[:_SHOWN]]
        write_atomically(
            self.out / "captions" / f"step_{step:06d}.txt", ["\n".join(lines).encode()]
        )
        told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.say(f"step {step}: accuracy {told}")
