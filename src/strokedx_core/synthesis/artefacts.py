"""What the scanner, the protocol and the archive do to an image.

Each function takes one image of shape (x, y, z) and a CPU generator, and returns a new image.
Strength zero changes nothing. Lengths are in mm; `spacing` is the isotropic spacing of the grid.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

__all__ = [
    "bias_field",
    "blur",
    "ghosts",
    "motion",
    "noise",
    "smooth_field",
    "thick_slices",
]


def uniform(low: float, high: float, rng: Generator) -> float:
    """One number between `low` and `high`."""
    return low + (high - low) * torch.rand((), generator=rng).item()


def smooth_field(
    shape: tuple[int, ...], nodes: int, rng: Generator, device: torch.device, channels: int = 1
) -> Tensor:
    """Standard normal noise on a coarse grid, interpolated linearly.

    Parameters
    ----------
    shape : tuple of three int
    nodes : int
        Coarse grid points along each axis; more of them make the field rougher.

    Returns
    -------
    Tensor, shape (channels, *shape)
    """
    field = torch.randn((channels, nodes, nodes, nodes), generator=rng).to(device)
    for axis, size in enumerate(shape):
        field = _along(_hat(size, nodes, device), field, axis + 1)
    return field


def _hat(size: int, nodes: int, device: torch.device) -> Tensor:
    """Linear interpolation from `nodes` to `size` points, first on first and last on last."""
    place = torch.linspace(0, nodes - 1, size, device=device)
    node = torch.arange(nodes, device=device)
    return (1 - (place[:, None] - node).abs()).clamp_min(0)


def _along(matrix: Tensor, image: Tensor, axis: int) -> Tensor:
    """Apply a (new size, old size) matrix along one axis."""
    before, after = image.shape[:axis], image.shape[axis + 1 :]
    if not after:
        return image @ matrix.T
    stacked = image.reshape(math.prod(before), image.shape[axis], math.prod(after))
    return torch.matmul(matrix, stacked).reshape(*before, len(matrix), *after)


def bias_field(image: Tensor, strength: float, rng: Generator) -> Tensor:
    """Multiply by the exponential of a smooth field whose standard deviation is `strength`."""
    if strength == 0:
        return image
    nodes = int(torch.randint(3, 6, (), generator=rng))
    return image * (strength * smooth_field(tuple(image.shape), nodes, rng, image.device)[0]).exp()


def noise(image: Tensor, strength: float, rng: Generator) -> Tensor:
    """Rician noise: the magnitude of the image plus complex normal noise of that deviation."""
    if strength == 0:
        return image
    seed = int(torch.randint(2**31, (), generator=rng))
    local = Generator(image.device).manual_seed(seed)
    real = torch.randn(image.shape, generator=local, device=image.device)
    imaginary = torch.randn(image.shape, generator=local, device=image.device)
    return torch.hypot(image + strength * real, strength * imaginary)


def blur(image: Tensor, width: float, axis: int, spacing: float) -> Tensor:
    """Gaussian blur along one axis, `width` mm full width at half maximum."""
    sigma = width / 2.355 / spacing
    if sigma < 0.2:
        return image
    index = torch.arange(image.shape[axis], device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * ((index[:, None] - index) / sigma) ** 2)
    return _along(kernel / kernel.sum(1, keepdim=True), image, axis)


def thick_slices(
    image: Tensor,
    axis: int,
    *,
    thickness: float,
    distance: float,
    spacing: float,
    strength: float,
    rng: Generator,
    offset: float | None = None,
) -> Tensor:
    """Acquire slices of a thickness at a distance, add noise, interpolate back linearly.

    Parameters
    ----------
    axis : int
        Direction of the slices.
    thickness, distance : float
        Slice thickness and distance between slice centres, in mm.
    strength : float
        Deviation of the Rician noise added to the acquired slices.
    offset : float, optional
        Where the first slice lies in the room there is for it, 0 to 1; drawn where not given.

    Notes
    -----
    All slices lie within the image. Beyond the first and the last one their values go on.
    """
    size = image.shape[axis]
    step = max(distance / spacing, 1.0)
    count = math.floor((size - 1) / step) + 1
    offset = uniform(0, 1, rng) if offset is None else offset
    start = offset * (size - 1 - (count - 1) * step)
    index = torch.arange(size, device=image.device, dtype=image.dtype)
    centre = start + step * torch.arange(count, device=image.device, dtype=image.dtype)
    half = max(thickness / spacing, 1.0) / 2
    gather = (half + 0.5 - (index - centre[:, None]).abs()).clamp(0, 1)
    gather = gather / gather.sum(1, keepdim=True).clamp_min(1e-6)
    slices = noise(_along(gather, image, axis), strength, rng)
    spread = (1 - (index[:, None] - centre).abs() / step).clamp_min(0)
    spread = spread / spread.sum(1, keepdim=True).clamp_min(1e-6)
    return _along(spread, slices, axis)


def motion(image: Tensor, shift: float, axis: int, spacing: float, rng: Generator) -> Tensor:
    """Ghosts and blur of a head that moved during the scan.

    The head sits up to `shift` mm away along the phase-encoding `axis` while some of the k-space
    lines are read; a shift is a phase ramp there.
    """
    if shift == 0:
        return image
    size = image.shape[axis]
    spectrum = torch.fft.fft(image, dim=axis)
    frequency = torch.fft.fftfreq(size, device=image.device)
    position = torch.zeros(size)
    for _ in range(int(torch.randint(1, 5, (), generator=rng))):
        begin = int(torch.randint(size, (), generator=rng))
        position[begin:] += uniform(-shift, shift, rng) / spacing
    # Lines are read from one edge of k-space to the other; its centre sets where the head appears.
    position = torch.fft.ifftshift(position - position[size // 2]).to(image.device)
    ramp = torch.exp(-2j * math.pi * frequency * position)
    view = [1, 1, 1]
    view[axis] = size
    moved: Tensor = torch.fft.ifft(spectrum * ramp.view(view), dim=axis).abs()
    return moved.to(image.dtype)


def ghosts(image: Tensor, strength: float, axis: int, rng: Generator) -> Tensor:
    """Add a copy of the image shifted by a fraction of the field of view, as EPI does."""
    if strength == 0:
        return image
    parts = int(torch.randint(2, 5, (), generator=rng))
    shift = image.shape[axis] // parts
    return image + strength * torch.roll(image, shift, dims=axis)
