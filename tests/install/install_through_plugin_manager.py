"""Install a file with the queue that napari's plugin dialog uses; run inside a fresh environment.

Usage: install_through_plugin_manager.py WHEEL. Prints what the installer said.
"""

from __future__ import annotations

import sys

from napari_plugin_manager.base_qt_package_installer import InstallerTools
from napari_plugin_manager.qt_package_installer import NapariInstallerQueue
from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication, QTextEdit


def main(wheel: str) -> int:
    """Install; the exit code is the installer's."""
    application = QApplication(sys.argv)
    log, loop, codes = QTextEdit(), QEventLoop(), []
    queue = NapariInstallerQueue()
    queue.set_output_widget(log)
    queue.allFinished.connect(lambda found: (codes.extend(found), loop.quit()))
    queue.install(tool=InstallerTools.PYPI, pkgs=[wheel])
    loop.exec()
    print(log.toPlainText())
    application.quit()
    return codes[0] if codes else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
