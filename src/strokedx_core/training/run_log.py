"""What a training run leaves to look at: progress bar, metrics.csv, curves, TensorBoard, slices."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from strokedx_core.training.config import TrainingConfig
from strokedx_core.training.environment import describe_environment
from strokedx_core.volume import write_atomically

if TYPE_CHECKING:
    from strokedx_core.training.caption_config import CaptionConfig
    from strokedx_core.training.typer_config import TyperConfig
    from strokedx_core.training.validation import Validation

__all__ = ["WAITING", "Picture", "RunLog", "draw_curves", "draw_slices", "read_metrics"]

Picture = tuple[str, Tensor, Tensor, Tensor]
"""Title, image, target and logits, each of shape (x, y, z)."""

WAITING = "share of time waiting for data"
"""Column of metrics.csv."""


class RunLog:
    """Progress bar, metrics.csv, curves, TensorBoard events and slice pictures of one run.

    Parameters
    ----------
    out : Path
        Run folder.
    config : TrainingConfig, CaptionConfig or TyperConfig
    step : int
        Steps done already; what was logged beyond them is forgotten.
    losses : list of float
        Of the steps done already since the last validation.
    quiet : bool
        No progress bar.
    """

    folders: ClassVar[tuple[str, ...]] = ("epochs", "slices")

    def __init__(
        self,
        out: Path,
        config: TrainingConfig | CaptionConfig | TyperConfig,
        step: int,
        losses: list[float],
        quiet: bool,
    ) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
        from torch.utils.tensorboard import SummaryWriter

        self.out = out
        for folder in self.folders:
            (out / folder).mkdir(exist_ok=True)
        write_atomically(out / "config.json", [config.model_dump_json(indent=2).encode()])
        environment = json.dumps(describe_environment(), indent=2)
        write_atomically(out / "environment.json", [environment.encode()])
        self.events = SummaryWriter(str(out), purge_step=step + 1)
        self.table = out / "metrics.csv"
        self._write([row for row in read_metrics(out) if int(row["step"]) <= step])
        self.losses = losses
        self.seconds: list[float] = []
        self.waited: list[float] = []
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            disable=quiet,
        )
        self.task = self.bar.add_task("training", total=config.steps, completed=step, note="")
        self.bar.start()

    def _write(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        if rows:
            writer = csv.DictWriter(text, list(rows[-1]))
            writer.writeheader()
            writer.writerows(rows)
        write_atomically(self.table, [text.getvalue().encode()])

    def step(self, step: int, loss: float, rate: float, seconds: float, waited: float) -> None:
        """Note one optimizer step, and how long of it went by waiting for data."""
        self.losses.append(loss)
        self.seconds.append(seconds)
        self.waited.append(waited)
        if step % 10 == 0:
            self.events.add_scalar("loss", loss, step)
            self.events.add_scalar("learning rate", rate, step)
        self.bar.update(self.task, completed=step, note=f"loss {loss:.4f}")

    def epoch(self, step: int, found: Validation) -> None:
        """Note the end of an epoch: a row in the table, curves, slices, a line in words."""
        scores = found.scores
        values = {"accuracy": found.accuracy} | {f"Dice {name}": v for name, v in scores.items()}
        loss, seconds = self.row(step, values)
        draw_slices(found.pictures, self.out / "slices" / f"step_{step:06d}.png")
        self.bar.console.print(
            f"step {step}: loss {loss:.4f}, accuracy {100 * found.accuracy:.2f} %, validation Dice "
            f"mean {scores['mean']:.4f}, worst {scores['worst']:.4f}, {seconds:.2f} s a step"
        )

    def row(self, step: int, values: Mapping[str, float]) -> tuple[float, float]:
        """Write what an epoch reached into the table, the curves and TensorBoard.

        Returns
        -------
        loss, seconds : float
            Means over the steps since the last row.
        """
        loss = sum(self.losses) / len(self.losses)
        seconds = sum(self.seconds) / len(self.seconds)
        row = {"step": str(step), "loss": f"{loss:.5g}", "seconds a step": f"{seconds:.3g}"}
        row[WAITING] = f"{sum(self.waited) / sum(self.seconds):.3f}"
        row |= {name: f"{value:.6g}" for name, value in values.items()}
        self.losses, self.seconds, self.waited = [], [], []
        self._write([*read_metrics(self.out), row])
        for name, value in values.items():
            self.events.add_scalar(name.replace(" ", "/", 1), value, step)
        self.events.flush()
        draw_curves(read_metrics(self.out), self.out / "curves.png")
        return loss, seconds

    def close(self) -> None:
        """Stop the progress bar and finish the TensorBoard file."""
        self.bar.stop()
        self.events.close()


def read_metrics(run: Path) -> list[dict[str, str]]:
    """Rows of a run's metrics.csv; none where there is no such file."""
    table = run / "metrics.csv"
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def draw_curves(rows: list[dict[str, str]], path: Path) -> None:
    """Loss on the left, every Dice or accuracy on the right, over steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [int(row["step"]) for row in rows]
    left.plot(steps, [float(row["loss"]) for row in rows], marker="o")
    left.set(xlabel="step", ylabel="loss", yscale="log")
    measure = "Dice" if "Dice mean" in rows[-1] else "accuracy"
    for name in rows[-1]:
        if name.startswith(f"{measure} "):
            values = [float(row.get(name) or "nan") for row in rows]
            thick = 2.5 if name == f"{measure} mean" else 1
            right.plot(steps, values, marker="o", linewidth=thick, label=name.split(" ", 1)[1])
    right.set(xlabel="step", ylabel=f"validation {measure}", ylim=(0, 1))
    right.legend(fontsize=7)
    figure.savefig(path, dpi=80)


def draw_slices(pictures: list[Picture], path: Path) -> None:
    """One column an image: middle slices in three planes, truth green, network red."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(pictures), 7.5), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(pictures), squeeze=False)
    for column, (title, image, target, logits) in enumerate(pictures):
        for row in range(3):
            middle = image.shape[row] // 2
            image_slice, truth, found = (
                volume.select(row, middle).T.cpu().numpy() for volume in (image, target, logits)
            )
            axis = axes[row, column]
            axis.imshow(image_slice, cmap="gray", origin="lower", vmin=0, vmax=1.2)
            for field, level, colour in ((truth, 0.5, "lime"), (found, 0.0, "red")):
                if field.min() < level < field.max():
                    axis.contour(field, [level], colors=colour, linewidths=0.8)
            axis.axis("off")
        axes[0, column].set_title(title, fontsize=7)
    figure.savefig(path, dpi=80)
