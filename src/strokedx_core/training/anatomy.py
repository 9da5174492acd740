"""Training of the anatomy network: generated brains, with and without strokes, and their parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from strokedx_core.anatomy.atlas import AtlasError, read_atlas
from strokedx_core.anatomy.regions import STRUCTURES, TERRITORIES
from strokedx_core.synthesis.anatomy import HeadAnatomy, load_anatomy
from strokedx_core.synthesis.head import nearest_index
from strokedx_core.synthesis.labels import Head
from strokedx_core.synthesis.lesion_shapes import load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import StrokeCase, StrokeRecipe, generate_case
from strokedx_core.training.config import AnatomyConfig, ConfigError, GridConfig
from strokedx_core.training.problems import Trial, load_heads, number_seed

__all__ = ["AnatomyProblem"]


class AnatomyProblem:
    """One sequence of a generated brain, and which structure, territory and side each voxel is.

    Parameters
    ----------
    config : AnatomyConfig
    folders : mapping
        "head-labels": whole-head label maps; "lesion-masks": shapes of infarcts; "atlas": the
        image of the arterial atlas, its table beside it with the ending `.tsv`.
    cache : Path
    device : torch.device

    Raises
    ------
    ConfigError
        If a folder lacks what is needed.
    """

    share = 0.03
    exclusive = (slice(1, 1 + len(STRUCTURES)), slice(1 + len(STRUCTURES), None))

    def __init__(
        self,
        config: AnatomyConfig,
        folders: Mapping[str, Path],
        cache: Path,
        device: torch.device,
    ) -> None:
        self.config = config
        image = folders["atlas"]
        try:
            atlas = read_atlas(image, image.with_name(image.name.split(".")[0] + ".tsv"))
            shapes = load_shapes(folders["lesion-masks"], cache)
        except (AtlasError, ValueError) as error:
            raise ConfigError(str(error)) from error
        self.shapes = [shape for shape in shapes if shape.plausible]

        def prepared(heads: list[Head]) -> list[tuple[Head, Tensor, HeadAnatomy]]:
            found = []
            for head in heads:
                path = next(folders["head-labels"].glob(f"{head.name}.*"))
                to_mni = head_to_mni(head)
                try:
                    anatomy = load_anatomy(path, head, to_mni, atlas, cache)
                except ValueError as error:
                    raise ConfigError(str(error)) from error
                found.append((head, to_mni, anatomy))
            return found

        heads, held_out = load_heads(folders["head-labels"], config, cache, device)
        self.heads, self.held_out = prepared(heads), prepared(held_out)

    def training(self, number: int, grid: GridConfig) -> tuple[Tensor, Tensor]:
        """Image number `number`, shape (1, x, y, z), and what its voxels are, shape
        (`regions.CHANNELS`, x, y, z)."""
        seed = number_seed(self.config, number)
        rng = torch.Generator().manual_seed(seed)
        head, to_mni, anatomy = self.heads[int(torch.randint(len(self.heads), (), generator=rng))]
        recipe = self.config.recipe(grid)
        assert isinstance(recipe, StrokeRecipe)
        case = generate_case(head, to_mni, self.shapes, seed, recipe=recipe)
        image, target = self._pair(case, anatomy)
        gain, gamma = (2 * torch.rand(2, generator=rng) - 1) * 0.3
        return image.pow(gamma.exp()) * gain.exp(), target

    def _pair(self, case: StrokeCase, anatomy: HeadAnatomy) -> tuple[Tensor, Tensor]:
        """The first sequence of a case and its target."""
        image = case.image.amax(0, keepdim=True)
        shape = image.shape[1:]
        index = nearest_index(
            case.place, torch.zeros(3, device=image.device), anatomy.structure.shape
        )
        structure, named, territory, right = (
            values.reshape(-1).index_select(0, index).view(shape)
            for values in (anatomy.structure, anatomy.named, anatomy.territory, anatomy.right)
        )
        right = (right ^ case.mirrored) & (structure > 0)
        structure = structure * named
        parts = [right[None].float()]
        for values, count in ((structure, len(STRUCTURES)), (territory, len(TERRITORIES))):
            parts.append(F.one_hot(values.long(), count + 1)[..., 1:].movedim(-1, 0).float())
        return image, torch.cat(parts)

    def prompt(
        self, network: torch.nn.Module, image: Tensor, target: Tensor, numbers: Sequence[int]
    ) -> Tensor:
        """Nothing is added: anatomy takes no clicks."""
        return image

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Dice of every part that is there, and cross-entropy, within the brain alone: where that
        is, skull stripping knows better. What the label map does not name counts for no structure.

        Structures exclude each other, and so do territories, which ventricles have none of.
        """
        axes = (2, 3, 4)
        brain = target[:, 1:].amax(1)
        side = F.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0], reduction="none")
        loss = (side * brain).sum() / brain.sum().clamp_min(1)
        for cut in self.exclusive:
            truth, one_of = target[:, cut], logits[:, cut].log_softmax(1)
            there = truth.sum(1, keepdim=True)
            loss = loss - (one_of * truth).sum() / there.sum().clamp_min(1)
            probability = one_of.exp() * there
            volume = truth.sum(axes)
            both = (probability * truth).sum(axes)
            dice = (2 * both + 1) / (probability.sum(axes) + volume + 1)
            loss = loss + 1 - dice[volume > 0].mean()
        return loss

    def trials(self, grid: GridConfig) -> Iterator[Trial]:
        """Every sequence of every head held out, with whatever stroke comes up; where no part is
        named, none counts."""
        if grid != self.config.grids[0]:
            return
        recipe = self.config.recipe(grid)
        assert isinstance(recipe, StrokeRecipe)
        for name in self.config.validation_contrasts:
            for which, (head, to_mni, anatomy) in enumerate(self.held_out):
                for number in range(self.config.validation_images):
                    case = generate_case(
                        head, to_mni, self.shapes, 1_000_003 * (which + 1) + number,
                        sequences=(name,), recipe=recipe,
                    )  # fmt: skip
                    image, target = self._pair(case, anatomy)
                    groups = ((slice(1), slice(1, None)), *((c, c) for c in self.exclusive))
                    for channels, parts in groups:
                        known = target[parts].amax(0) > 0
                        target[channels] = torch.where(known, target[channels], -1.0)
                    yield Trial(name, image, target, 0)
