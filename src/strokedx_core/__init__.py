"""Brain extraction on magnetic resonance images, and what StrokeDx builds on it.

Names are looked up when they are first used, so that ``import strokedx_core`` costs milliseconds:
PyTorch alone takes longer to import than most commands run.

>>> import strokedx_core
>>> volume = strokedx_core.read_volume("head.nii.gz")       # doctest: +SKIP
>>> mask = strokedx_core.skull_strip(volume).mask           # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strokedx_core.diffusion import adc_from
    from strokedx_core.inference.clicks import ClickSession
    from strokedx_core.inference.segment import Click, Lesion, LesionResult, segment_lesions
    from strokedx_core.inference.skull_strip import SkullStripResult, skull_strip
    from strokedx_core.tasks import TASKS, Task
    from strokedx_core.volume import (
        Flag,
        Volume,
        VolumeError,
        read_mask,
        read_volume,
        write_image,
        write_mask,
        write_probability,
    )

__all__ = [
    "TASKS",
    "Click",
    "ClickSession",
    "Flag",
    "Lesion",
    "LesionResult",
    "SkullStripResult",
    "Task",
    "Volume",
    "VolumeError",
    "__version__",
    "adc_from",
    "read_mask",
    "read_volume",
    "segment_lesions",
    "skull_strip",
    "write_image",
    "write_mask",
    "write_probability",
]

__version__ = "0.1.0"

_HOMES = {
    "diffusion": ("adc_from",),
    "inference.clicks": ("ClickSession",),
    "inference.segment": ("Click", "Lesion", "LesionResult", "segment_lesions"),
    "inference.skull_strip": ("SkullStripResult", "skull_strip"),
    "tasks": ("TASKS", "Task"),
    "volume": (
        "Flag",
        "Volume",
        "VolumeError",
        "read_mask",
        "read_volume",
        "write_image",
        "write_mask",
        "write_probability",
    ),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
