"""Names of output files: nothing is lost to anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from strokedx_core.cli import outputs
from strokedx_core.cli.outputs import OutputError, plan, stem
from strokedx_core.volume import SUFFIXES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("head.nii.gz", "head"),
        ("head.nii", "head"),
        ("HEAD.NII.GZ", "HEAD"),
        ("head.v2.mgz", "head.v2"),
        ("head.gz.mgh", "head.gz"),
        ("head", "head"),
    ],
)
def test_stem(name, expected):
    assert stem(Path("somewhere") / name) == expected


def test_endings_are_those_that_volumes_can_be_written_with():
    assert set(outputs._SUFFIXES) == set(SUFFIXES)


def test_single_input(tmp_path):
    (job,) = plan([tmp_path / "a.nii"], tmp_path / "b.nii.gz", tmp_path / "m.nii")
    assert job.brain == tmp_path / "b.nii.gz"
    assert job.mask == tmp_path / "m.nii"
    (job,) = plan([tmp_path / "a.nii"], None, tmp_path / "m.nii")
    assert job.files == (tmp_path / "m.nii",)


@pytest.mark.parametrize("exists", [True, False])
def test_folder(tmp_path, exists):
    folder = tmp_path / "out"
    if exists:
        folder.mkdir()
    jobs = plan([tmp_path / "a.nii", tmp_path / "b.mgz"], folder, None)
    assert [path.name for job in jobs for path in job.files] == [
        "a_brain.nii.gz",
        "a_mask.nii.gz",
        "b_brain.nii.gz",
        "b_mask.nii.gz",
    ]
    assert {path.parent for job in jobs for path in job.files} == {folder}


def test_folder_for_the_brain_and_a_file_for_the_mask(tmp_path):
    (job,) = plan([tmp_path / "a.nii"], tmp_path, tmp_path / "mine.nii")
    assert job.files == (tmp_path / "a_brain.nii.gz", tmp_path / "mine.nii")


REFUSED = {
    "nothing to write": ((["a.nii"], None, None), "nothing to write"),
    "brain over the input": ((["a.nii"], "a.nii", None), "is an input"),
    "mask over the input": ((["a.nii"], "b.nii", "a.nii"), "is an input"),
    "input named by another way": ((["x/../a.nii"], "a.nii", None), "is an input"),
    "input but for upper case": ((["a.nii"], "A.nii", None), "is an input"),
    "batch over an input": ((["out/a_brain.nii.gz", "a.nii"], "out", None), "is an input"),
    "report over the input": ((["a.nii"], "b.nii", None, "a.nii"), "is an input"),
    "brain and mask alike": ((["a.nii"], "b.nii", "b.nii"), "both"),
    "report over the mask": ((["a.nii"], "b.nii", "m.nii", "m.nii"), "both"),
    "same name, other folder": ((["x/a.nii", "y/a.nii"], "out", None), "x.a.nii and .*y.a.nii"),
    "same name, other ending": ((["a.nii", "a.nii.gz"], "out", None), "both"),
    "same input twice": ((["a.nii", "a.nii"], "out", None), "both"),
    "several inputs, one brain": ((["a.nii", "b.nii"], "c.nii.gz", None), "folder"),
    "several inputs, one mask": ((["a.nii", "b.nii"], "out", "m.nii"), "several inputs"),
    "mask without an ending": ((["a.nii"], "b.nii", "m"), "-m takes a file"),
    "folder is a file": ((["a.nii"], "file", None), "is a file"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path, given, message):
    (tmp_path / "file").touch()
    sources, *rest = given
    with pytest.raises(OutputError, match=message):
        plan([tmp_path / name for name in sources], *(name and tmp_path / name for name in rest))


def test_a_link_to_the_input_is_the_input(tmp_path):
    (tmp_path / "a.nii").touch()
    (tmp_path / "link.nii").symlink_to(tmp_path / "a.nii")
    with pytest.raises(OutputError, match="is an input"):
        plan([tmp_path / "a.nii"], tmp_path / "link.nii", None)
