"""Captions that a network writes, each statement of which is checked against the findings.

from strokedx_core.captions.neural import write_caption
caption = write_caption(mask, {"DWI": dwi, "ADC": adc}, brain, findings)
caption.first         # what the network wrote first
caption.text          # what it wrote again, where findings tell otherwise than the first
caption.checked       # what of it the findings bear out
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from strokedx_core.captions.claims import FIELDS, Claim, borne_out, claims_of
from strokedx_core.captions.facts import CaseFindings, Finding
from strokedx_core.captions.lesion_type import close_view, load_typer, type_odds
from strokedx_core.captions.on_grid import lesion_on_grid, lesion_on_slice, pieces_on_grid
from strokedx_core.captions.parts import parts_of, parts_on
from strokedx_core.captions.phrasing import read, say
from strokedx_core.captions.tokens import Tokenizer
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.inference.devices import choose_device
from strokedx_core.inference.lesion_case import read_sequences, sequences_on_grid
from strokedx_core.nets.captioner import BEGIN_CASE, BEGIN_SLICE, Captioner
from strokedx_core.tasks import TASKS
from strokedx_core.volume import Volume, VolumeError
from strokedx_core.weights import WeightsError, find_weights, load_tensors, read_card

__all__ = [
    "Checked",
    "LoadedCaptioner",
    "NeuralCaption",
    "check_text",
    "load_captioner",
    "write_caption",
    "write_checked",
]

POSSIBLY = "possibly"
"""Said before what the findings cannot tell."""

_FURTHER = 32
"""Texts that are drawn where findings tell otherwise than the likeliest."""


@dataclass(frozen=True)
class Checked:
    """A statement of the network.

    Attributes
    ----------
    text : str
    field, value : str
        What it claims; "" where it could not be read back.
    verdict : {"borne out", "not assessable", "struck"}
    """

    text: str
    field: str
    value: str
    verdict: str


@dataclass(frozen=True)
class NeuralCaption:
    """What the network wrote, and what became of it.

    Attributes
    ----------
    first : str
        The likeliest text, nothing of it checked.
    text : str
        The same; where findings tell otherwise, or both networks together another type, in words of
        further texts that agree with them.
    checked : str
        Without what was struck; what the findings cannot tell is marked as possible.
    statements : tuple of Checked
    """

    first: str
    text: str
    checked: str
    statements: tuple[Checked, ...]


@dataclass(frozen=True, eq=False)
class LoadedCaptioner:
    """A network with its tokenizer."""

    network: Captioner
    tokenizer: Tokenizer


def load_captioner(
    weights: str | Path | None = None, device: torch.device | str = "cpu"
) -> LoadedCaptioner:
    """The captioner and its tokenizer, ready for inference.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or not a captioner.
    """
    path = find_weights(weights or TASKS["caption"].default_weights)
    tensors = dict(load_tensors(path))
    model = tensors.pop("tokenizer", None)
    if model is None:
        raise WeightsError(f"{path}: not for captions (there is no tokenizer in it)")
    try:
        with torch.device("meta"):
            network = Captioner(**read_card(path).architecture)
        network.load_state_dict({n: t.float() for n, t in tensors.items()}, assign=True)
        tokenizer = Tokenizer(bytes(model.tolist()))
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: does not fit its card's architecture: {error}") from error
    network = network.to(device).eval().requires_grad_(False)
    network.encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return LoadedCaptioner(network, tokenizer)


def write_caption(
    mask: Volume,
    images: Mapping[str, Volume],
    brain: np.ndarray,
    found: CaseFindings,
    *,
    lesion_type: str = "general",
    slice_index: int | None = None,
    device: str = "auto",
    weights: str | Path | None = None,
    closer: str | Path | None = None,
) -> NeuralCaption:
    """Let the network write about the lesions of a case, and check what it wrote.

    Parameters
    ----------
    mask : Volume
        As `volume.read_mask` gives it.
    images : mapping of str to Volume
        Sequences of the same examination by modality, on any grid; one at least.
    brain : ndarray of bool, shape of the mask
    found : CaseFindings
        Of the mask.
    lesion_type : {"general", "ischemic", "hemorrhagic"}
        What the mask marks; the findings say whether there is blood in a general one.
    slice_index : int, optional
        Write about this slice alone, one that `found.slices` has.
    device : {"auto", "cpu", "cuda", "mps"}
    weights : str or path, optional
        Of the captioner.
    closer : str or path, optional
        Weights of the network that looks at whole lesions more closely, for their type; those that
        ship where the captioner's do, none beside others.

    Raises
    ------
    VolumeError
        If there is no image, no brain is marked, or nothing of the lesion lies on the slice.
    WeightsError
        If the weights cannot be used.
    """
    if brain.shape != mask.shape or not brain.any():
        raise VolumeError(f"{mask.path}: no brain on its grid to write about")
    findings = found.findings
    if slice_index is not None:
        here = [one.findings for one in found.slices if one.index == slice_index]
        if not here:
            raise VolumeError(f"{mask.path}: there is no lesion on slice {slice_index}")
        findings = here[0]
    place = choose_device(device)
    loaded = load_captioner(weights, place)
    spacing = read_card(weights or TASKS["caption"].default_weights).spacings_mm[-1]
    grid = BrainGrid.around(brain, mask.affine, spacing, loaded.network.encoder.divisor)
    sequences = read_sequences(images)
    image, _, _ = sequences_on_grid(sequences, brain, grid, spacing)
    pieces = None
    if slice_index is None:
        lesion = lesion_on_grid(mask.data > 0, grid)
        numbers = pieces_on_grid(found.labels, lesion, grid)
        pieces = torch.from_numpy(numbers)[None, None].to(place)
    else:
        lesion = lesion_on_slice(mask, slice_index, grid)
    with torch.inference_mode():
        looked_at = torch.from_numpy(image)
        if found.anatomy is not None and found.anatomy.structure.any():
            parts = parts_on(found.anatomy, grid.shape, grid.affine)
        else:
            first = looked_at[int(looked_at.flatten(1).any(1).int().argmax())]
            parts = parts_of(first, device=place)
        seen, answers, _ = loaded.network.look(
            looked_at[None].to(place),
            torch.from_numpy(lesion)[None, None].to(place),
            parts[None, None].to(place),
            pieces,
            spacing_mm=spacing,
        )
        told: dict[str, str] = {}
        begin = BEGIN_CASE if slice_index is None else BEGIN_SLICE
        if closer is None and weights is None:
            closer = TASKS["caption"].closer_weights
        if closer is not None and slice_index is None and lesion.any():
            own = answers[list(FIELDS).index("type")][0]
            told["type"] = _type_of(own, mask, sequences, brain, closer)
        return write_checked(loaded, seen, begin, _with_type(findings, lesion_type), told)


def _type_of(
    own: torch.Tensor,
    mask: Volume,
    sequences: Mapping[str, Volume],
    brain: np.ndarray,
    closer: str | Path,
) -> str:
    """The likeliest type, by the captioner's answer and that of the network that looks closer."""
    card = read_card(closer)
    spacing, share = card.spacings_mm[-1], card.text["input"].get("share", 0.5)
    typer = load_typer(closer, own.device)
    view = close_view(mask.data > 0, sequences, brain, mask.affine, spacing, typer.divisor)
    values = FIELDS["type"]
    odds = (1 - share) * own[: len(values)].log_softmax(0)
    if view.lesion.any():
        odds = odds + share * type_odds(typer, view, spacing)
    return values[int(odds.argmax())]


def write_checked(
    loaded: LoadedCaptioner,
    seen: torch.Tensor,
    begin: int,
    found: Mapping[str, Finding],
    told: Mapping[str, str] = MappingProxyType({}),
) -> NeuralCaption:
    """The likeliest text; where findings tell otherwise or better, in other words of the network.

    Better is what `claims_of` would say: of two arteries that may be named, the one that holds
    more. Further texts are drawn then, and a phrase that is not the best takes on what most of
    those say that are right in its field; where none is, it stays.

    Parameters
    ----------
    loaded : LoadedCaptioner
    seen : Tensor, shape (1, n, width)
        Of `Captioner.look`.
    begin : int
        `BEGIN_CASE` or `BEGIN_SLICE`.
    found : mapping of str to Finding
        Of the case or the slice that it is about.
    told : mapping of str to str
        Field → value, answers of networks that count where the findings do not tell.
    """
    truth = {**told, **claims_of(found)}

    def best(part: Checked) -> bool:
        return part.verdict != "struck" and truth.get(part.field, part.value) == part.value

    (tokens,) = loaded.network.caption(seen, begin)
    text = loaded.tokenizer.decode(tokens)
    first = check_text(text, found)
    if all(best(part) for part in first.statements):
        return first
    rng = torch.Generator(seen.device).manual_seed(0)
    right: dict[str, Counter[str]] = {}
    for tokens in loaded.network.caption(seen.expand(_FURTHER, -1, -1), begin, rng):
        for part in check_text(loaded.tokenizer.decode(tokens), found).statements:
            if best(part):
                right.setdefault(part.field, Counter())[_within(part.text)] += 1
    said = {part.field for part in first.statements if best(part)}
    phrases = []
    for part in first.statements:
        phrase = _within(part.text)
        if part.field in right and part.field not in said:
            ((phrase, _),) = right[part.field].most_common(1)
            said.add(part.field)
        phrases.append(phrase)
    again = say(phrases, [phrase.ends for phrase in read(text)])
    return replace(check_text(again, found), first=text)


def _within(phrase: str) -> str:
    """A phrase as it stands within a sentence: acronyms alone begin with a capital."""
    return phrase if phrase[1:2].isupper() else phrase[:1].lower() + phrase[1:]


def _with_type(found: Mapping[str, Finding], lesion_type: str) -> Mapping[str, Finding]:
    """Findings, with what the mask was said to mark where blood was not looked for."""
    if lesion_type == "general" or ("hemorrhagic" in found and found["hemorrhagic"].known):
        return found
    return {**found, "hemorrhagic": Finding(float(lesion_type == "hemorrhagic"), "share")}


def check_text(text: str, found: Mapping[str, Finding]) -> NeuralCaption:
    """Check what was written, phrase by phrase.

    Parameters
    ----------
    text : str
    found : mapping of str to Finding
        Of the case or the slice that it is about.
    """
    statements, kept, said = [], [], set[Claim]()
    for phrase in read(text):
        field, value = phrase.claim or ("", "")
        verdict = "struck"
        if phrase.claim is not None and phrase.claim not in said:
            true = borne_out(phrase.claim, found)
            verdict = {True: "borne out", False: "struck", None: "not assessable"}[true]
            said.add(phrase.claim)
        statements.append(Checked(phrase.text, field, value, verdict))
        if verdict != "struck":
            plain = _within(phrase.text)
            kept.append(plain if verdict == "borne out" else f"{POSSIBLY} {plain}")
    return NeuralCaption(text, text, say(kept), tuple(statements))
