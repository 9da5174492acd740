"""A training run small enough for a test: three made-up heads, a few thousand parameters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from phantom import write_label_map

CONFIG = """
seed = 3
steps = 60
steps_per_epoch = 20
checkpoint_every = 4
batch = 2
learning_rate = 1e-2
final_learning_rate = 1e-3
warmup = 4
ema = 0.9
precision = "float32"
validation = ["head_c"]
validation_images = 2
validation_contrasts = ["T1W", "FLAIR"]

[network]
widths = [8, 16, 16]

[[grids]]
shape = [40, 40, 40]
spacing = 3.0
shift = 5.0

[generator]
modality_like = 1.0
modalities = { T1W = 1.0, FLAIR = 1.0 }
rotation = 5.0
bias = 0.1
stripped = 0.0

[[data]]
name = "made-up heads"
licence = "BSD-3-Clause"
"""


def write_heads(folder: Path) -> Path:
    """Three label maps unlike each other: head_a, head_b, head_c."""
    for name, stretch in (("a", 0.95), ("b", 1.05), ("c", 1.0)):
        write_label_map(folder / f"head_{name}.nii.gz", stretch=stretch)
    return folder


def command(heads: Path, config: Path, out: Path) -> list[str]:
    """The training as a process of its own."""
    return [
        *(sys.executable, "-m", "strokedx_core.training.segmentation", "--quiet"),
        *("--head-labels", str(heads), "--config", str(config), "--out", str(out)),
    ]


def environment() -> dict[str, str]:
    """One thread: what is compared bit for bit must add up in the same order."""
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(heads: Path, config: Path, out: Path) -> str:
    """Train to the end and return what was printed."""
    done = subprocess.run(
        command(heads, config, out),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
