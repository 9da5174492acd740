"""Where a network runs, and in which precision."""

from __future__ import annotations

import torch

__all__ = ["DeviceError", "autocast_dtype", "choose_device"]


class DeviceError(ValueError):
    """A device was asked for that this machine does not have."""


def choose_device(name: str = "auto") -> torch.device:
    """CUDA, then MPS, then the CPU for "auto"; else the one named.

    Raises
    ------
    DeviceError
        If it is not there.
    """
    mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError("no CUDA device was found; choose auto or cpu")
    if name == "mps" and not mps:
        raise DeviceError("no MPS device was found; choose auto or cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise DeviceError(f"device must be auto, cpu, cuda or mps, not {name!r}") from None


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Half precision where the hardware has it, else None."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    # The question has no public name, and no name at all in older releases.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if device.type == "cpu" and supported is not None and supported():
        return torch.bfloat16
    return None
