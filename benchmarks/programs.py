"""Programs that strip skulls, each as one function from a scan to two files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Run = Callable[[Path, Path, Path], None]
"""Reads a scan and writes the stripped image and the mask, in that order."""


def make_strokedx(options: argparse.Namespace) -> Run:
    """StrokeDx, weights as shipped."""
    from strokedx_core.inference.skull_strip import skull_strip
    from strokedx_core.volume import read_volume, write_image, write_mask

    def run(scan: Path, brain: Path, mask: Path) -> None:
        result = skull_strip(read_volume(scan), device=options.device)
        write_image(result.brain(), result.volume, brain)
        write_mask(result.mask, result.volume, mask)

    return run


def make_deepbet(options: argparse.Namespace) -> Run:
    """Fisch et al., "deepbet" (Computers in Biology and Medicine 2024), from PyPI."""
    from deepbet import BrainExtraction

    program = BrainExtraction(no_gpu=options.device == "cpu")

    def run(scan: Path, brain: Path, mask: Path) -> None:
        program.run(str(scan), str(brain), str(mask))

    return run


def make_seed(options: argparse.Namespace) -> Run:
    """The original network with random weights, on a grid of its own."""
    import torch
    import torch.nn.functional as F

    from strokedx_core.nets.unet3d import UNet3D
    from strokedx_core.volume import read_volume, write_image, write_mask

    wanted = options.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    network = UNet3D.seed_protocol().eval().to(wanted)
    grid = tuple(options.seed_grid)

    @torch.inference_mode()
    def run(scan: Path, brain: Path, mask: Path) -> None:
        volume = read_volume(scan)
        image = torch.from_numpy(volume.data.copy())[None, None].to(wanted)
        small = F.interpolate(image, grid, mode="trilinear")
        logits = network((small - small.mean()) / small.std())
        found = F.interpolate(logits, volume.shape, mode="trilinear")[0, 0] > 0
        inside = found.cpu().numpy()
        write_image(volume.data * inside, volume, brain)
        write_mask(inside, volume, mask)

    return run


MAKERS = {"strokedx": make_strokedx, "deepbet": make_deepbet, "seed": make_seed}
