"""Commands run in this process, or as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from strokedx_core.cli import app


@pytest.fixture
def strokedx() -> Callable[..., Result]:
    """Runs ``strokedx`` in this process; the answer has exit_code, stdout and stderr."""

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def strokedx_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``strokedx`` in a process of its own."""

    def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "strokedx_core.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]

    return call
