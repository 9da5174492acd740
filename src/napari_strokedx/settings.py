"""What the user chose under Preferences."""

from __future__ import annotations

__all__ = ["preferred_device"]


def preferred_device() -> str:
    """Return the device of the Preferences page: auto, cuda, mps or cpu.

    Versions of napari before 0.9 have no pages for plugins; there it is always auto.
    """
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return "auto"
    try:
        return str(get_plugin_settings("napari-strokedx").inference.device)
    except (AttributeError, KeyError):
        return "auto"
