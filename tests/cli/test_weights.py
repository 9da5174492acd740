"""``strokedx weights``."""

from __future__ import annotations

import tomllib

from strokedx_core.tasks import TASKS


def test_list_names_the_default_of_every_task(strokedx):
    lines = strokedx("weights", "list").stdout.splitlines()
    for task in TASKS.values():
        (line,) = [line for line in lines if line.startswith(f"{task.default_weights} ")]
        assert f"default of {task.name}" in line


def test_show_prints_the_card(strokedx):
    for task in TASKS.values():
        done = strokedx("weights", "show", task.default_weights)
        assert done.exit_code == 0
        assert tomllib.loads(done.stdout)


def test_unknown_weights(strokedx):
    done = strokedx("weights", "show", "nothing")
    assert done.exit_code == 2
    assert "no weights named 'nothing'" in done.stderr
