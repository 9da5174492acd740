"""Named protocols on small folders in the layouts of the data sets, and the table they print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from small_datasets import write_icpsr, write_nfbs
from typer.testing import CliRunner, Result

from strokedx_core.captions.neural import load_captioner
from strokedx_core.cli import app
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.config import ConfigError
from strokedx_core.training.protocol import protocol_names, read_protocol
from strokedx_core.training.tasks import cases_of
from strokedx_core.weights import load_network, read_card

TASKS = [
    "nfbs-skull-strip",
    "icpsr38464-skull-strip",
    *(f"icpsr38464-lesion-{kind}" for kind in ("general", "ischemic", "hemorrhagic")),
]
# A 90-million-parameter network takes minutes an epoch on a processor: the protocols are followed
# with everything of theirs but its widths, on coarser grids, for two epochs.
NARROW = """
[seed]
epochs = 2
grids = [{ shape = [32, 32, 32], spacing = 8.0 }]
learning_rate = 1e-2
final_learning_rate = 1e-2
network = { widths = [4, 8, 8, 8, 8] }
real = { validation = 0.2, test = 0.2 }

[strokedx]
epochs = 2
real = { validation = 0.2, test = 0.2 }
"""
SMALL = {
    "skull-strip": 'grids = [{ shape = [32, 64, 32], spacing = 6.0 }]\nprecision = "float32"\n',
    "lesion": 'grids = [{ shape = [32, 48, 32], spacing = 6.0 }]\nprecision = "float32"\n',
}


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_each_of_theirs_has_one_of_ours_beside_it() -> None:
    tasks = [*TASKS, "icpsr38464-caption"]
    names = [f"{side}/{task}" for side in ("seed", "strokedx") for task in tasks]
    assert protocol_names() == sorted(names)


@pytest.mark.parametrize("task", TASKS)
def test_the_original_protocol(task: str) -> None:
    protocol = read_protocol(f"seed/{task}")
    config = protocol.config
    with torch.device("meta"):
        assert UNet3D(**config.network.model_dump()).parameter_count == 90_298_561
    assert (protocol.epochs, config.batch, config.loss) == (7, 2, "bce")
    assert (config.weight_decay, config.ema, config.warmup) == (0, 0, 0)
    assert config.learning_rate == config.final_learning_rate
    assert len(config.grids) == 1
    assert config.real is not None
    assert (config.real.share, config.real.augment) == (1, False)
    assert config.real.alone == (config.task == "lesion")
    ours = read_protocol(f"strokedx/{task}").config
    assert ours.start is not None
    network = load_network(ours.start)
    assert UNet3D(**ours.network.model_dump()).config == network.config
    assert ours.real is not None
    for what in ("data_sets", "lesion_type", "validation", "test", "split"):
        assert getattr(ours.real, what) == getattr(config.real, what)
    assert ours.task == config.task


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data_set", "only", "task"),
    [
        ("NFBS", "skull-strip", "skull-strip"),
        ("ICPSR 38464", "lesion-ischemic", "lesion"),
    ],
)
def test_both_protocols_beside_each_other(
    data_set: str, only: str, task: str, tmp_path: Path
) -> None:
    write = write_nfbs if data_set == "NFBS" else write_icpsr
    folder, config = write(tmp_path / "data"), tmp_path / "narrow.toml"
    config.write_text(NARROW.replace("[strokedx]\n", f"[strokedx]\n{SMALL[task]}"))
    out = tmp_path / "out"
    words = (data_set, folder, "--only", only, "--out", out, "--config", config, "--quiet")
    done = run("compare-protocols", *words)
    assert done.exit_code == 0, done.stderr
    assert "all images are real; 30 % would be generated" in done.stderr
    name = f"{'nfbs' if data_set == 'NFBS' else 'icpsr38464'}-{only}"
    printed = done.stdout[done.stdout.index("\nvalidation ") :]
    lines = [line.split() for line in printed.splitlines() if line]
    assert lines[0] == ["validation", f"seed/{name}", f"strokedx/{name}"]
    assert lines[1] == ["epoch", *("loss", "accuracy", "%", "Dice") * 2]
    assert [len(line) for line in lines[2:4]] == [7, 7]
    ends = re.findall(
        r"^(\S+): (\d) images, accuracy ([\d.]+) %, Dice mean (\S+),", done.stdout, re.M
    )
    assert [end[0] for end in ends] == [f"seed/{name}", f"strokedx/{name}"]
    assert ends[0][1] == ends[1][1] != "0"

    people = []
    for side in ("seed", "strokedx"):
        kept = out / f"{side}-{name}"
        assert len(list((kept / "epochs").glob("*.pt"))) == 2
        assert len(list((kept / "slices").glob("*.png"))) == 2
        assert (kept / "curves.png").exists()
        assert read_card(kept / "weights.safetensors").name == f"{side}-{name}"
        told = read_protocol(f"{side}/{name}", {"real": {"validation": 0.2, "test": 0.2}}).config
        (data,) = told.real.data_sets
        parts = cases_of(told, {data: folder, "split": out / f"{data}-split.json"})
        people.append([{case.person for case in part} for part in parts])
        assert json.loads((kept / "config.json").read_text())["real"]["share"] == 1.0
    assert people[0] == people[1]
    train, validation, test = people[0]
    assert (len(train), len(validation), len(test)) == (6, 2, 2)
    assert len(train | validation | test) == 10


@pytest.mark.slow
def test_captions_by_both_protocols(tmp_path: Path) -> None:
    folder, config, out = write_icpsr(tmp_path / "data"), tmp_path / "c.toml", tmp_path / "out"
    dictionary = {
        "Medical-history": {"Levels": {"none": "There is no history."}},
        "Lesion-type": {"Levels": {"ischemic": "There is an infarct.",
                                   "hemorrhagic": "There is a haemorrhage."}},
    }  # fmt: skip
    path = folder / "documentation" / "dictionary.json"
    path.write_text(json.dumps(dictionary), encoding="utf-8")
    config.write_text("[seed]\nepochs = 2\nvocabulary = 300\n[strokedx]\nepochs = 2\n")
    words = ("ICPSR38464", folder, "--only", "caption", "--out", out, "--config", config)
    done = run("compare-protocols", *words, "--quiet")
    assert done.exit_code == 0, done.stderr
    names = ["seed/icpsr38464-caption", "strokedx/icpsr38464-caption"]
    lines = [line.split() for line in done.stdout.splitlines() if line]
    at = lines.index(["epoch", *names])
    assert lines[at + 1] == ["loss", "texts", "right"] * 2
    rows = [[float(cell) for cell in line] for line in lines[at + 2 : at + 4]]
    assert [row[0] for row in rows] == [1, 2]
    assert rows[1][1] < rows[0][1]
    assert rows[1][3] < rows[0][3]
    written = (out / "strokedx-icpsr38464-caption" / "captions").glob("*.txt")
    assert "There is no history. There is a" in max(written).read_text()
    assert load_captioner(out / "strokedx-icpsr38464-caption" / "weights.safetensors")


@pytest.mark.slow
def test_one_protocol_by_name(tmp_path: Path) -> None:
    folder = write_icpsr(tmp_path / "data")
    config, out = tmp_path / "narrow.toml", tmp_path / "run"
    seed = NARROW.split("[seed]")[1].split("[strokedx]")[0].replace("epochs = 2", "epochs = 1")
    config.write_text(seed, encoding="utf-8")
    words = ("--protocol", "seed/icpsr38464-lesion-general", folder, "--config", config)
    done = run("train", *words, "--out", out, "--quiet")
    assert done.exit_code == 0, done.stderr
    assert "seed/icpsr38464-lesion-general: 2 images" in done.stdout
    assert f"weights: {out / 'weights.safetensors'}" in done.stdout
    # Given again, it measures what there is.
    again = run("train", *words, "--out", out, "--quiet").stdout
    assert again.startswith("validation ")
    assert done.stdout.endswith(again)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    wrong = run("train", "--protocol", "seed/mnist", tmp_path, *out)
    assert wrong.exit_code == 2
    assert "no protocol 'seed/mnist'; there are seed/icpsr38464" in wrong.stderr
    wrong = run("train", "--protocol=seed/nfbs-skull-strip", tmp_path, tmp_path, *out)
    assert "takes the folders of nfbs" in wrong.stderr
    wrong = run("compare-protocols", "MNIST", tmp_path)
    assert "no protocol for MNIST" in wrong.stderr
    wrong = run("compare-protocols", "NFBS", tmp_path / "none")
    assert "none: no such folder" in wrong.stderr
    config = tmp_path / "changes.toml"
    config.write_text("epochs = 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="epochs: a whole number from 1"):
        read_protocol("seed/nfbs-skull-strip", {"epochs": 0})
    wrong = run("train", "--protocol", "seed/nfbs-skull-strip", tmp_path, *out, "--config", config)
    assert (wrong.exit_code, "epochs" in wrong.stderr) == (2, True)
    assert not (tmp_path / "run").exists()
