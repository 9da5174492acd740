"""System libraries that a real napari window needs: which are missing, and how to get them.

``python tests/system_libraries.py`` names the missing ones; with ``--install`` they are installed
where that is possible (root, apt-get). Window tests are skipped, with the reason, where they stay
missing; nothing else depends on them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}
"""Shared libraries that Qt and OpenGL load at run time, with the Debian package of each."""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_packages() -> list[str]:
    """Debian packages that a real window lacks here; always empty outside Linux."""
    if sys.platform != "linux":
        return []
    missing = [package for library, package in LIBRARIES.items() if not _loads(library)]
    # Mesa's software renderer is loaded by name from its own folder, out of the linker's sight.
    if not any(Path("/usr").glob("lib*/**/dri/*_dri.so")):
        missing.append("libgl1-mesa-dri")
    if not os.environ.get("DISPLAY") and shutil.which("Xvfb") is None:
        missing.append("xvfb")
    # Reports are looked at in a browser.
    if not browser():
        missing.append("chromium")
    return missing


def browser() -> str | None:
    """Path of Chromium, if it is here."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def install(packages: list[str]) -> bool:
    """Install with apt-get; False where that is not possible."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
            return False
    return True


def main(arguments: list[str]) -> int:
    """Report, or install, what is missing. Never fails: the tests say what they had to skip."""
    missing = missing_packages()
    if missing and "--install" in arguments and install(missing):
        missing = missing_packages()
    if missing:
        names = " ".join(missing)
        print(f"Missing for tests that open a window, which will be skipped: {names}")
        print(f"On Debian or Ubuntu: sudo apt-get install {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
