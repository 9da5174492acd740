"""Training of the captioner: what it starts from, what a step learns, what is validated.

    strokedx train caption --head-labels DIR --lesion-masks DIR --atlas FILE --out RUN

A run that was stopped goes on when the same command is given again. What step n learns follows from
the seed and n alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from strokedx_core.captions.claims import FIELDS
from strokedx_core.captions.neural import LoadedCaptioner, load_captioner
from strokedx_core.captions.parts import PARTS
from strokedx_core.captions.phrasing import read, write
from strokedx_core.captions.tokens import Tokenizer
from strokedx_core.inference.devices import choose_device
from strokedx_core.nets.captioner import END, PAD, Captioner
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.caption_cases import CaptionCase, generated_cases, real_cases
from strokedx_core.training.caption_config import CaptionConfig
from strokedx_core.training.caption_examples import Example, examples_of
from strokedx_core.training.caption_export import export_captioner
from strokedx_core.training.caption_log import CaptionLog
from strokedx_core.training.failures import check_loss
from strokedx_core.training.loop import read_state, train_steps
from strokedx_core.training.losses import balanced_entropy
from strokedx_core.training.tables import ConfigError
from strokedx_core.weights import WeightsError, load_network, read_card

__all__ = ["field_accuracy", "train_captioner"]

_TEXTS = 20_000
"""Texts that the tokenizer is trained on."""

_AT_ONCE = 8
"""Cases that are validated at a time."""

QUESTIONS = tuple(1 + len(values) for values in FIELDS.values())
"""What the network answers beside the text: by field, which value is true, or none."""


def train_captioner(
    config: CaptionConfig, folders: Mapping[str, Path], out: Path, *, quiet: bool = False
) -> Path:
    """Train until `config.steps`, from the run's checkpoint where there is one.

    Parameters
    ----------
    config : CaptionConfig
    folders : mapping of str to Path
        "head-labels", "lesion-masks" and the file "atlas"; or the folder of each data set in
        `config.data_sets`, by its name.
    out : Path
        Run folder: `last.pt`, `best.pt` (averaged weights with the best validation), `metrics.csv`,
        TensorBoard events, `config.json`, `environment.json`, `captions/` (texts written for cases
        of the validation); at the end `weights.safetensors` and its card.
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
    start = _start(config)
    divisor = UNet3D(**start.encoder).divisor
    left_out: list[str] = []
    if config.data_sets:
        cases, held_out, left_out = real_cases(config, folders, divisor)
    else:
        made = [
            generated_cases(
                config, folders, out / "cache", held_out=held, multiple=divisor, quiet=quiet
            )
            for held in (False, True)
        ]
        cases, held_out = made
    state = read_state(out, config)
    if "tokenizer" in state:
        tokenizer = Tokenizer(bytes(state["tokenizer"].tolist()))
    else:
        tokenizer = start.tokenizer or _tokenizer(config, cases)

    torch.manual_seed(config.seed)
    model, average = (
        Captioner(
            start.encoder, len(tokenizer), PARTS, QUESTIONS, width=config.width,
            layers=config.layers, heads=config.heads, length=config.length,
        ).to(device)
        for _ in range(2)
    )  # fmt: skip
    if not state["step"]:
        start.into(model)
    encoder = list(model.encoder.parameters())
    others = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    groups: list[dict[str, Any]] = [
        {"params": others},
        {"params": encoder, "share": config.encoder_rate},
    ]
    optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
    log = CaptionLog(out, config, state["step"], state["losses"], quiet)
    for told in left_out:
        log.say(f"left out: {told}")

    def learn(step: int) -> float:
        examples = examples_of(config, cases, step)
        loss = _loss(model, examples, tokenizer, device)
        image = torch.cat([example.image.flatten() for example in examples])
        lesion = torch.cat([example.lesion.flatten() for example in examples])
        numbers = range(len(examples))
        check_loss(loss, image, lesion, numbers, step, out / "not_a_number.pt")
        loss.backward()
        return loss.item()

    def checked(step: int) -> dict[str, float]:
        scores, texts = _validate(average, held_out, tokenizer, device)
        log.validated(step, scores, texts)
        return scores

    kept = {
        "tokenizer": torch.frombuffer(bytearray(tokenizer.model), dtype=torch.uint8),
        "architecture": model.config,
    }
    train_steps(
        config, model, average, optimizer, log, state, learn=learn, validate=checked, kept=kept
    )
    return export_captioner(out, out / "weights.safetensors")


class _Start(NamedTuple):
    """What a run starts from: an encoder's description, and weights and tokenizer if any."""

    encoder: dict[str, Any]
    captioner: LoadedCaptioner | None = None
    lesion: UNet3D | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.captioner.tokenizer if self.captioner else None

    def into(self, model: Captioner) -> None:
        """Take over the weights."""
        try:
            if self.captioner is not None:
                model.load_state_dict(self.captioner.network.state_dict())
            if self.lesion is not None:
                self.lesion.leave_encoder()
                model.encoder.load_state_dict(self.lesion.state_dict())
        except RuntimeError as error:
            raise ConfigError(f"start: the network is built differently: {error}") from error


def _start(config: CaptionConfig) -> _Start:
    if config.start is None:
        return _Start(UNet3D(**config.encoder).config)
    try:
        if read_card(config.start).task == "caption":
            loaded = load_captioner(config.start)
            return _Start(loaded.network.config["encoder"], loaded)
        network = load_network(config.start)
    except WeightsError as error:
        raise ConfigError(f"start: {error}") from error
    return _Start(network.config, lesion=network)


def _tokenizer(config: CaptionConfig, cases: Sequence[CaptionCase]) -> Tokenizer:
    rng = np.random.default_rng(config.seed)
    texts = [case.text for case in cases if case.text]
    while not config.data_sets and len(texts) < _TEXTS:
        case = cases[int(rng.integers(len(cases)))]
        said = [case.claims, *case.slices.values()]
        texts.append(write(said[int(rng.integers(len(said)))], rng))
    return Tokenizer.train(texts, config.vocabulary)


def _loss(
    model: Captioner, examples: Sequence[Example], tokenizer: Tokenizer, device: torch.device
) -> Tensor:
    """Mean cross-entropy of the tokens that follow, and, where they are known, of the answers and
    of which voxels are blood, every lesion alike."""
    shapes = {example.lesion.shape for example in examples}
    tokens, answers, blood = [], [], []
    for shape in sorted(shapes):
        alike = [example for example in examples if example.lesion.shape == shape]
        seen, answered, bled = model.look(
            *(torch.stack(part).to(device) for part in list(zip(*alike, strict=True))[:4])
        )
        rows = [
            torch.tensor([example.begin, *tokenizer.encode(text), END][: model.length + 1])
            for example in alike
            for text in example.texts
        ]
        repeats = torch.tensor([len(example.texts) for example in alike], device=device)
        text = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD).to(device)
        logits = model(seen.repeat_interleave(repeats, dim=0), text[:, :-1])
        following = text[:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none")
        tokens.append(loss[following.flatten() != PAD])
        meant = [example.answers for example in alike if example.answers is not None]
        if len(meant) == len(alike):
            columns = torch.tensor(meant, device=device).unbind(1)
            answers += [
                F.cross_entropy(given, column, reduction="none")
                for given, column in zip(answered, columns, strict=True)
            ]
        for example, given in zip(alike, bled, strict=True):
            if example.blood is not None and len(given):
                blood.append(balanced_entropy(given, example.blood[example.lesion > 0]))
    loss = torch.cat(tokens).mean()
    if answers:
        loss = loss + torch.cat(answers).mean()
    if blood:
        loss = loss + torch.stack(blood).mean()
    return loss


def _validate(
    model: Captioner, cases: Sequence[CaptionCase], tokenizer: Tokenizer, device: torch.device
) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Accuracy by field, or of texts the share written word for word; and what was written."""
    written = [""] * len(cases)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, case in enumerate(cases):
        by_shape.setdefault(tuple(case.lesion.shape), []).append(number)
    for numbers in by_shape.values():
        for first in range(0, len(numbers), _AT_ONCE):
            these = numbers[first : first + _AT_ONCE]
            seen = zip(*(cases[n].seen() for n in these), strict=True)
            with torch.no_grad():
                looked_at, *_ = model.look(*(torch.stack(part).to(device) for part in seen))
                tokens = model.caption(looked_at)
            for n, row in zip(these, tokens, strict=True):
                written[n] = tokenizer.decode(row)
    meant = [case.text or write(case.claims, np.random.default_rng(0)) for case in cases]
    if cases[0].text:
        same = [a == b for a, b in zip(written, meant, strict=True)]
        scores = {"text": float(np.mean(same))}
    else:
        scores = field_accuracy(written, [case.claims for case in cases])
    scores["mean"] = float(np.mean(list(scores.values())))
    return scores, list(zip(meant, written, strict=True))


def field_accuracy(written: Sequence[str], meant: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Share of the texts that say what is true, by field; what is left unsaid counts as wrong.

    Parameters
    ----------
    written : sequence of str
    meant : sequence of mapping
        What is true of each case, by field.
    """
    right: dict[str, list[bool]] = {}
    for text, claims in zip(written, meant, strict=True):
        said = {part.claim for part in read(text)}
        for field, value in claims.items():
            right.setdefault(field, []).append((field, value) in said)
    return {field: float(np.mean(right[field])) for field in FIELDS if field in right}
