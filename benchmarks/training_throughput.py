"""Training speed: patches a second, and the share of the time that the network waits for data.

    python benchmarks/training_throughput.py --head-labels LABEL_MAPS --steps 20 --shape 64 64 96

Four rows: the default network in its training loop, on generated heads; and steps on random images
of the same shape for the network of the original project, for the same written with MONAI's
`BasicUNet`, and for MONAI's `UNet` of the same widths, which has no pooling and two convolutions a
resolution with a residual. Only the first has data to wait for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.config import GridConfig, SkullStripConfig
from strokedx_core.training.network import autocast, device_of
from strokedx_core.training.run_log import WAITING, read_metrics
from strokedx_core.training.segmentation import train

WARM_UP = 2


def loop(folder: Path, shape: tuple[int, int, int], batch: int, steps: int) -> tuple[float, float]:
    """Patches a second of the whole loop with the default network, and its share of waiting."""
    names = sorted(path.name.split(".")[0] for path in folder.glob("*.*") if path.is_file())
    config = SkullStripConfig(
        # The second epoch is measured, when all is warm.
        steps=2 * steps,
        steps_per_epoch=steps,
        batch=batch,
        validation=(names[-1],),
        validation_images=1,
        validation_contrasts=("T1W",),
        grids=(GridConfig(shape=shape),),
    )
    with TemporaryDirectory() as run:
        train(config, {"head-labels": folder}, Path(run), quiet=True)
        row = read_metrics(Path(run))[-1]
    return batch / float(row["seconds a step"]), float(row[WAITING])


def alone(
    make: Callable[[], nn.Module], shape: tuple[int, int, int], batch: int, steps: int
) -> tuple[float, int]:
    """Patches a second of a network on random images, and its number of parameters."""
    device = device_of(0)
    network = make().to(device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    image = torch.rand(batch, 1, *shape, device=device)
    image = image.contiguous(memory_format=torch.channels_last_3d)
    target = (torch.rand(batch, 1, *shape, device=device) > 0.5).float()
    config, start = SkullStripConfig(), 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            start = _now(device)
        with autocast(config, device):
            logits = network(image)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    count = sum(parameter.numel() for parameter in network.parameters())
    return batch * steps / (_now(device) - start), count


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def monai_basic() -> nn.Module:
    """The original network in MONAI's words."""
    widths = (64, 128, 256, 512, 1024, 64)
    return BasicUNet(3, 1, 1, widths, act=("relu", {"inplace": True}), norm="batch")


def monai_unet() -> nn.Module:
    """MONAI's residual network of the same widths."""
    widths = (64, 128, 256, 512, 1024)
    return UNet(3, 1, 1, widths, (2, 2, 2, 2), num_res_units=2, norm="batch", act="relu")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--head-labels", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 64, 96))
    options = parser.parse_args()
    x, y, z = options.shape
    shape, batch, steps = (x, y, z), options.batch, options.steps
    device = device_of(0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    bf16 = "bf16" if autocast(SkullStripConfig(), device)._enabled else "float32"
    print(f"{name}, {bf16}, {torch.get_num_threads()} threads, {x}×{y}×{z}, batch {batch}")
    print(f"{'network':44} {'parameters':>12} {'patches/s':>10} {'waiting':>8}")
    default = sum(parameter.numel() for parameter in UNet3D().parameters())
    # The loop's grid must suit the default network's coarsest resolution.
    speed, waiting = loop(
        options.head_labels, (-(-x // 32) * 32, -(-y // 32) * 32, z), batch, steps
    )
    print(
        f"{'default, in the loop, generated heads':44} {default:12,} {speed:10.3f} {waiting:8.1%}"
    )
    for title, make in (
        ("original project's, 64 to 1024", UNet3D.seed_protocol),
        ("the same as MONAI's BasicUNet", monai_basic),
        ("MONAI's UNet of the same widths, residual", monai_unet),
    ):
        speed, count = alone(make, shape, batch, steps)
        print(f"{title:44} {count:12,} {speed:10.3f} {'-':>8}", flush=True)


if __name__ == "__main__":
    main()
