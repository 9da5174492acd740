"""Data sets on disk: everybody seen is a case or is left out with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_datasets import write_icpsr, write_nfbs

from strokedx_core.datasets import DATA_SETS, DataSetError, find_cases, survey

PERSON = "sub-02e8eb42"


@pytest.fixture
def nfbs(tmp_path: Path) -> Path:
    return write_nfbs(tmp_path / "NFBS_Dataset", people=4)


@pytest.fixture
def icpsr(tmp_path: Path) -> Path:
    return write_icpsr(tmp_path / "ICPSR_38464", people=4)


def seen(folder: Path, name: str) -> int:
    found = survey(name, folder)
    return len(found.cases) + len(found.left_out)


def test_nfbs_as_downloaded(nfbs: Path) -> None:
    cases = find_cases("nfbs", nfbs)
    assert [case.person for case in cases] == [f"A000{28185 + n}" for n in range(4)]
    for case in cases:
        assert case.session == "NFB3"
        assert case.images["T1W"].name.endswith("_T1w.nii.gz")
        assert case.brain is not None
        assert case.brain.name.endswith("_T1w_brainmask.nii.gz")
    assert len({case.key for case in cases}) == 4


def test_nfbs_without_folders_for_people(nfbs: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in nfbs.rglob("*.nii.gz"):
        path.rename(flat / path.name)
    assert len(find_cases("nfbs", flat)) == 4


@pytest.mark.parametrize(("ending", "why"), [("_T1w", "no T1W"), ("_brainmask", "no brain")])
def test_nobody_is_dropped_silently(nfbs: Path, ending: str, why: str) -> None:
    next(nfbs.rglob(f"*{ending}.nii.gz")).unlink()
    found = survey("nfbs", nfbs)
    assert len(found.cases) == 3
    (reason,) = found.left_out.values()
    assert reason.startswith(why)
    assert seen(nfbs, "nfbs") == 4


def test_two_files_for_one_role_are_refused(nfbs: Path) -> None:
    path = next(nfbs.rglob("*_brainmask.nii.gz"))
    (path.parent / "copy").mkdir()
    (path.parent / "copy" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataSetError, match="two files for its brain mask"):
        survey("nfbs", nfbs)


def test_icpsr_with_its_table_and_dictionary(icpsr: Path) -> None:
    sentences = {"Medical-history": {"Levels": {"none": "There is no history."}}}
    path = icpsr / "documentation" / "dictionary.json"
    path.write_text(json.dumps(sentences), encoding="utf-8")
    cases = find_cases("icpsr38464", icpsr)
    assert [case.lesion_type for case in cases] == ["ischemic", "ischemic", "hemorrhagic",
                                                    "ischemic"]  # fmt: skip
    first = cases[0]
    assert first.person == PERSON
    assert set(first.images) == {"DWI", "ADC", "B0"}
    assert first.history["Medical-history"] == "none"
    assert first.text == "There is no history. ischemic."
    sentences["Lesion-type"] = {"Levels": {"ischemic": "There is an infarct."}}
    path.write_text(json.dumps(sentences), encoding="utf-8")
    texts = [case.text for case in find_cases("icpsr38464", icpsr)]
    assert texts[1:3] == ["There is no history. There is an infarct.",
                          "There is no history. hemorrhagic."]  # fmt: skip


def test_icpsr_takes_other_cases_and_nestings(icpsr: Path) -> None:
    path = next(icpsr.rglob(f"{PERSON}_B0_*"))
    target = icpsr / "raw_data" / PERSON / "ses-1" / path.name.replace("_B0_", "_b0_")
    target.parent.mkdir(parents=True)
    path.rename(target)
    first, *_ = find_cases("icpsr38464", icpsr)
    assert first.images["B0"] == target


def test_icpsr_counts_add_up(icpsr: Path) -> None:
    next(icpsr.rglob(f"{PERSON}_desc-stroke_mask*")).unlink()
    table = icpsr / "documentation" / "participants.tsv"
    with table.open("a", encoding="utf-8") as file:
        file.write("sub-ffffffff\tnone\tischemic\n")
    found = survey("icpsr38464", icpsr)
    assert found.left_out == {PERSON: "no lesion mask", "sub-ffffffff": "no image"}
    assert len(found.cases) == 3


def test_a_table_with_somebody_twice_is_refused(icpsr: Path) -> None:
    table = icpsr / "documentation" / "participants.tsv"
    with table.open("a", encoding="utf-8") as file:
        file.write(f"{PERSON}\tnone\tischemic\n")
    with pytest.raises(DataSetError, match="stands there twice"):
        survey("icpsr38464", icpsr)


@pytest.mark.parametrize("name", DATA_SETS)
def test_other_folders_are_refused_by_what_is_in_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="no such folder"):
        find_cases(name, tmp_path / "nowhere")
    with pytest.raises(DataSetError, match="no NIfTI file"):
        find_cases(name, tmp_path)
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(DataSetError, match=r"scan\.nii\.gz"):
        find_cases(name, tmp_path)


def test_an_unknown_data_set_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="nfbs, icpsr38464"):
        find_cases("adni", tmp_path)
