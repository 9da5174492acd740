"""Training of the network that tells types of stroke: its cases, what a step learns, its card.

    strokedx train caption-type --head-labels DIR --lesion-masks DIR --out RUN

A run that was stopped goes on when the same command is given again. What step n learns follows from
the seed and n alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from strokedx_core.captions.claims import type_of
from strokedx_core.captions.lesion_type import CloseView, close_view, load_typer, type_odds
from strokedx_core.inference.devices import choose_device
from strokedx_core.inference.lesion_case import read_sequences
from strokedx_core.nets.lesion_typer import TYPES, LesionTyper
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.synthesis.stroke import StrokeCase, generate_case
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.training.caption_cases import heads_and_shapes
from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.training.export import UNSTATED, card_of
from strokedx_core.training.failures import check_loss
from strokedx_core.training.kept_cases import kept_cases
from strokedx_core.training.loop import read_state, train_steps
from strokedx_core.training.losses import balanced_entropy
from strokedx_core.training.optimizers import FilterMuon
from strokedx_core.training.run_log import RunLog
from strokedx_core.training.tables import ConfigError
from strokedx_core.training.typer_config import TyperConfig
from strokedx_core.weights import WeightsError, load_network, read_card, write_weights

__all__ = ["TyperCase", "begin_from", "train_lesion_typer", "typer_cases"]

FOLDERS = ("head-labels", "lesion-masks")
"""What cases are made from."""

_FORMAT = 1
"""Raised whenever cases come out differently than before."""


class TyperCase(NamedTuple):
    """A lesion with what lies around it, and its type.

    Attributes
    ----------
    there : tuple of int
        Numbers of the sequences that there are, as in `tasks.MODALITIES`.
    image : Tensor of float16, shape (len(there), x, y, z)
    lesion, blood : Tensor of bool, shape (x, y, z)
    type : int
        Of `nets.lesion_typer.TYPES`.
    """

    there: tuple[int, ...]
    image: Tensor
    lesion: Tensor
    blood: Tensor
    type: int

    def whole(self) -> Tensor:
        """All sequences, shape (7, x, y, z), float32, 0 where there is none."""
        image = torch.zeros((len(MODALITIES), *self.lesion.shape))
        image[list(self.there)] = self.image.float()
        return image

    def view(self) -> CloseView:
        """As in use."""
        return CloseView(self.whole().numpy(), self.lesion.numpy(), self.blood.numpy())


class TyperLog(RunLog):
    """As `RunLog`; a validation leaves accuracies in place of Dice and slices."""

    folders: ClassVar[tuple[str, ...]] = ()

    def validated(self, step: int, scores: Mapping[str, float]) -> None:
        """Note the end of an epoch."""
        loss, seconds = self.row(step, {f"accuracy {name}": v for name, v in scores.items()})
        told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.bar.console.print(f"step {step}: loss {loss:.4f}, {told}, {seconds:.2f} s a step")


def typer_cases(
    config: TyperConfig,
    folders: Mapping[str, Path],
    cache: Path,
    multiple: int,
    *,
    held_out: bool,
    quiet: bool = True,
) -> list[TyperCase]:
    """Cases with a lesion that shows, those of the cache and what it lacks.

    Parameters
    ----------
    config : TyperConfig
    folders : mapping of str to Path
        By `FOLDERS`.
    cache : Path
    multiple : int
        Sizes of the views are multiples of it.
    held_out : bool
        Whether those to validate on.
    quiet : bool
        No progress bar.

    Raises
    ------
    ConfigError
        If a folder lacks what is needed.
    """
    missing = [name for name in FOLDERS if name not in folders]
    if missing:
        raise ConfigError(f"generated cases need --{' and --'.join(missing)}")
    key = config.model_dump_json(
        include={"seed", "validation", "validation_shapes", "spacing", "generator"}
    )
    digest = hashlib.sha256(f"{_FORMAT}{key}{multiple}{held_out}".encode()).hexdigest()[:16]
    count = config.validation_cases if held_out else config.cases
    made: list[Callable[[int], StrokeCase]] = []

    def make(number: int) -> dict[str, Any]:
        if not made:
            made.append(_generator(config, folders, cache, held_out))
        return _viewed(config, made[0](number), multiple)

    what = "cases to validate on" if held_out else "cases to train on"
    kept = kept_cases(cache / f"types-{digest}", count, make, what, quiet)
    return [TyperCase(tuple(values.pop("there")), **values) for values in kept]


def _generator(
    config: TyperConfig, folders: Mapping[str, Path], cache: Path, held_out: bool
) -> Callable[[int], StrokeCase]:
    heads, shapes = heads_and_shapes(config, folders, cache, held_out=held_out)
    recipe = config.recipe()

    def make(number: int) -> StrokeCase:
        seed = (config.seed << 28) + (int(held_out) << 27) + 16 * number
        while True:  # Until a lesion shows.
            _, head, to_mni = heads[seed % len(heads)]
            case = generate_case(head, to_mni, shapes, seed, recipe=recipe)
            if case.target.any():
                return case
            seed += 1

    return make


def _viewed(config: TyperConfig, case: StrokeCase, multiple: int) -> dict[str, Any]:
    lesion, blood = (
        (case.target[LESION_TYPES.index(name)] > 0.5).numpy() for name in ("general", "hemorrhagic")
    )
    volumes = read_sequences(case.volumes())
    affine = next(iter(volumes.values())).affine
    view = close_view(
        lesion, volumes, case.brain.numpy(), affine, config.spacing, multiple, blood=blood
    )
    there = [MODALITIES.index(name) for name in case.sequences]
    return {
        "there": there, "image": torch.from_numpy(view.image[there]).half(),
        "lesion": torch.from_numpy(view.lesion), "blood": torch.from_numpy(view.blood),
        "type": TYPES.index(type_of(float(blood[lesion].mean()))),
    }  # fmt: skip


def begin_from(typer: LesionTyper, lesion: UNet3D) -> None:
    """Take over a lesion network's first resolutions and what it knows of blood.

    Raises
    ------
    ConfigError
        If they are built differently.
    """
    skipped = len(lesion.decoder) - len(typer.network.decoder)
    levels, theirs, taken = len(typer.network.encoder), lesion.state_dict(), {}
    below = len(lesion.conditions or ()) - (levels - 1)
    for name in typer.network.state_dict():
        part, _, rest = name.partition(".")
        number, _, inner = rest.partition(".")
        if part == "bottleneck":
            source = f"encoder.{levels}.{rest}"
        elif part in ("up", "decoder"):
            source = f"{part}.{int(number) + skipped}.{inner}"
        elif part == "conditions" and int(number) >= levels:
            source = f"conditions.{int(number) - levels + below}.{inner}"
        else:
            source = name
        values = theirs.get(source)
        if part == "head" and values is not None and len(values) == len(LESION_TYPES):
            values = values[LESION_TYPES.index("hemorrhagic")][None]
        taken[name] = values
    try:
        if skipped < 1 or any(values is None for values in taken.values()):
            raise ConfigError("start: a lesion network of more resolutions is needed")
        typer.network.load_state_dict(taken)
    except RuntimeError as error:
        raise ConfigError(f"start: the network is built differently: {error}") from error


def _start(typer: LesionTyper, weights: str) -> None:
    """Go on from weights of its own, or begin from a lesion network's."""
    try:
        if read_card(weights).task == "caption-type":
            typer.load_state_dict(load_typer(weights).state_dict())
        else:
            begin_from(typer, load_network(weights))
    except (WeightsError, RuntimeError) as error:
        raise ConfigError(f"start: {error}") from error


def train_lesion_typer(
    config: TyperConfig, folders: Mapping[str, Path], out: Path, *, quiet: bool = False
) -> Path:
    """Train until `config.steps`, from the run's checkpoint where there is one.

    Parameters
    ----------
    config : TyperConfig
    folders : mapping of str to Path
        "head-labels" and "lesion-masks".
    out : Path
        Run folder: `last.pt`, `best.pt` (averaged weights with the best validation), `metrics.csv`,
        TensorBoard events, `config.json`, `environment.json`; at the end `weights.safetensors` and
        its card.
    quiet : bool
        No progress bar.

    Returns
    -------
    Path
        The best weights.

    Raises
    ------
    ConfigError
        If a folder lacks what is needed, the weights to start from do not fit, or the run folder
        belongs to another configuration.
    FloatingPointError
        If the loss is no longer a number; the batch is kept in the run folder.
    OSError
        If a checkpoint cannot be written; the one before it stays whole.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = choose_device("auto")
    torch.manual_seed(config.seed)
    model, average = (
        LesionTyper(config.network.model_dump(), hidden=config.hidden, dropout=config.dropout)
        for _ in range(2)
    )
    held_out, cases = (
        typer_cases(config, folders, out / "cache", model.divisor, held_out=held, quiet=quiet)
        for held in (True, False)
    )
    state = read_state(out, config)
    if not state["step"] and config.start is not None:
        _start(model, config.start)
    model, average = model.to(device), average.to(device)
    optimizer = FilterMuon(model, model.network.output, config.weight_decay)
    log = TyperLog(out, config, state["step"], state["losses"], quiet)

    def learn(step: int) -> float:
        return _learn(model, config, cases, step, out, device)

    def checked(step: int) -> dict[str, float]:
        scores = _validate(average, held_out, config.spacing)
        log.validated(step, scores)
        return scores

    train_steps(
        config, model, average, optimizer, log, state, learn=learn, validate=checked, kept={}
    )
    return _export(out, out / "weights.safetensors", model.config)


def _learn(
    model: LesionTyper,
    config: TyperConfig,
    cases: Sequence[TyperCase],
    step: int,
    out: Path,
    device: torch.device,
) -> float:
    """Gradients of a step, and its loss: cross-entropy of the type, and of which voxels are
    blood."""
    rng = np.random.default_rng((config.seed, step))
    torch.manual_seed(int(rng.integers(2**31)))  # What dropout leaves out.
    total = 0.0
    for number in rng.integers(len(cases), size=config.batch):
        case = cases[int(number)]
        parts = _part((case.whole(), case.lesion, case.blood), config.longest, rng)
        image, lesion, blood = (part.to(device) for part in parts)
        types, bled = model(image, lesion, config.spacing)
        meant = torch.tensor([case.type], device=device)
        loss = F.cross_entropy(types[None], meant) + balanced_entropy(bled, blood[lesion])
        check_loss(loss, image, lesion, [int(number)], step, out / "not_a_number.pt")
        (loss / config.batch).backward()
        total += loss.item() / config.batch
    return total


def _part(
    view: tuple[Tensor, Tensor, Tensor], longest: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A view or a part of one with some lesion in it, its axes in any order and direction, each
    sequence a little brighter or darker."""
    image, lesion, blood = view
    at = lesion.nonzero()
    centre = at[int(rng.integers(len(at)))].tolist()
    starts = [
        min(max(0, place - longest // 2), max(0, size - longest))
        for place, size in zip(centre, lesion.shape, strict=True)
    ]
    x, y, z = (slice(start, start + longest) for start in starts)
    # Blood looks alike whichever way it lies, and cases that always lie as they came are soon known
    # by heart: 1,791 of them were.
    backwards = [-1 - axis for axis in range(3) if rng.random() < 0.5]
    order = [int(axis) for axis in rng.permutation(3)]
    lesion, blood = (part[x, y, z].flip(backwards).permute(order) for part in (lesion, blood))
    image = image[:, x, y, z].flip(backwards).permute(0, *(1 + axis for axis in order))
    gamma, gain = (
        torch.from_numpy(rng.uniform(-0.2, 0.2, (len(image), 1, 1, 1))).float().exp()
        for _ in range(2)
    )
    return image.clamp_min(0).pow(gamma) * gain, lesion, blood


def _validate(model: LesionTyper, cases: Sequence[TyperCase], spacing: float) -> dict[str, float]:
    """Share of the types that are told, by type; all of the cases together as "mean"."""
    right: dict[str, list[bool]] = {}
    for case in cases:
        told = int(type_odds(model, case.view(), spacing).argmax())
        right.setdefault(TYPES[case.type], []).append(told == case.type)
    scores = {name: float(np.mean(right[name])) for name in TYPES if name in right}
    scores["mean"] = float(np.mean([one for each in right.values() for one in each]))
    return scores


def _export(run: Path, target: Path, architecture: Mapping[str, Any]) -> Path:
    best = load_checkpoint(run / "best.pt")
    config = json.loads(best["config"])
    card = card_of(
        best,
        name=run.resolve().name,
        task="caption-type",
        title="Type of stroke, from image and mask: a second opinion for the captioner",
        architecture=architecture,
        takes={"spacings_mm": [config["spacing"]], "share": config["share"]},
        data=config["data"] or [UNSTATED],
        validated="accuracy by type, held-out people and shapes",
        use="Types that captions name where no mask of blood was given.",
        limits="Trained on simulated strokes in adult anatomy; no real haemorrhage was ever seen.",
    )
    write_weights(best["model"], card, target)
    return target
