"""Every data set in the layout it has on disk, what `datasets check` says of it, and splits."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_datasets import WRITERS, write_isles2022, write_soop
from typer.testing import CliRunner, Result

from strokedx_core.cli import app
from strokedx_core.datasets import DATA_SETS, DataSetError, find_cases, layout_of, survey
from strokedx_core.datasets.cases import CaseFiles
from strokedx_core.datasets.check import FAULTS, check
from strokedx_core.datasets.splits import Split, extend_split, make_split, read_split

FOUND = {  # people written, examinations, and the sequences of each
    "nfbs": (4, {"T1W"}),
    "icpsr38464": (4, {"DWI", "ADC", "B0"}),
    "soop": (4, {"T1W", "FLAIR", "ADC", "DWI"}),
    "arc": (8, {"T1W", "T2W", "FLAIR"}),
    "atlas-r2": (4, {"T1W"}),
    "isles2022": (4, {"DWI", "ADC", "FLAIR"}),
    "bids": (4, {"DWI", "T2W", "SWI"}),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small folder of each, which tests only read."""
    return {name: write(tmp_path_factory.mktemp(name), people=4) for name, write in WRITERS.items()}


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_every_data_set_is_here() -> None:
    assert set(WRITERS) == set(DATA_SETS) == set(FOUND)


@pytest.mark.parametrize("name", DATA_SETS)
def test_as_downloaded(written: dict[str, Path], name: str) -> None:
    count, sequences = FOUND[name]
    cases = find_cases(name, written[name])
    assert len(cases) == count
    for case in cases:
        assert set(case.images) == sequences
        assert (case.lesion is None) == (name == "nfbs")
        assert (case.brain is not None) == (name in ("nfbs", "icpsr38464", "bids"))
        files = [*case.images.values(), *(p for p in (case.lesion, case.brain) if p is not None)]
        assert all(path.is_file() for path in files)
        assert not any("desc-smooth" in path.name for path in files)
    assert len({case.key for case in cases}) == count


def test_what_the_tables_say(written: dict[str, Path]) -> None:
    case = find_cases("soop", written["soop"])[0]
    assert (case.person, case.lesion_type) == ("sub-1", "ischemic")
    assert case.history == {"sex": "F", "age": "61", "nihss": "1"}
    assert case.lesion is not None
    assert "desc-lesion_mask" in case.lesion.name
    left_out = survey("atlas-r2", written["atlas-r2"]).left_out
    assert left_out == {"sub-r001s005, session 1": "no lesion mask"}


def test_a_copy_that_nests_otherwise(tmp_path: Path) -> None:
    cases = find_cases("isles2022", write_isles2022(tmp_path, nested=True))
    assert [set(case.images) for case in cases] == [{"DWI", "ADC", "FLAIR"}] * 4


def test_nobody_of_a_mirror_is_lost(tmp_path: Path) -> None:
    write_soop(tmp_path, people=6)
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file() and path.suffix == ".nii" and "TRACE" in path.name:
            path.rename(path.with_name(path.name.replace("_dwi", "_DWI")))
    (tmp_path / "sub-77" / "anat").mkdir(parents=True)
    with (tmp_path / "participants.tsv").open("a", encoding="utf-8") as file:
        file.write("sub-78\tM\t50\t3\n")
    found = survey("soop", tmp_path)
    assert len(found.cases) == 6
    assert found.left_out == {"sub-77": "no image", "sub-78": "no image"}


def test_two_scans_of_a_kind_leave_one_person_out(tmp_path: Path) -> None:
    folder = WRITERS["arc"](tmp_path, people=2)
    path = sorted(folder.rglob("*_T1w.nii.gz"))[0]
    path.with_name(path.name.replace("_T1w", "_run-2_T1w")).write_bytes(path.read_bytes())
    found = survey("arc", folder)
    assert len(found.cases) == 3
    ((who, why),) = found.left_out.items()
    assert who == "sub-M2001, session 1"
    assert why.startswith("two files for its T1W: ")


def test_names_of_data_sets() -> None:
    assert layout_of("ATLAS R2").name == "atlas-r2"
    assert layout_of("ICPSR 38464").name == "icpsr38464"
    with pytest.raises(DataSetError, match=r"no data set 'brats'; there are nfbs, "):
        layout_of("brats")


@pytest.mark.parametrize("name", DATA_SETS)
def test_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "holiday.nii.gz"
    nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)).to_filename(path)
    result = run("datasets", "check", name, tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path}: not {DATA_SETS[name].title}: none of its")
    assert run("datasets", "check", name, tmp_path / "none").exit_code == 2


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_whole_data_set_has_no_faults(written: dict[str, Path], name: str) -> None:
    report = check(name, written[name])
    count = FOUND[name][0]
    without = {"atlas-r2": 1}.get(name, 0)  # the test part has no masks
    counts = report.counts()
    assert sum(counts.values()) == len(report.people) == count + without
    assert counts["complete"] == count
    assert counts["incomplete"] == without


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def moved(path: Path) -> None:
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 30
    nib.Nifti1Image(np.asarray(image.dataobj), affine).to_filename(path)


def mirrored(path: Path) -> None:
    image = nib.load(path)
    nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([-1, 1, 1, 1])).to_filename(
        path
    )


def contradicting(path: Path) -> None:
    image = nib.load(path)
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine @ np.diag([-1, 1, 1, 1]), 1)
    image.to_filename(path)


def emptied(path: Path) -> None:
    image = nib.load(path)
    nib.Nifti1Image(0 * np.asarray(image.dataobj), image.affine).to_filename(path)


def labelled(path: Path) -> None:
    image = nib.load(path)
    data = np.asarray(image.dataobj) * 3
    data[0, 0, 0] = 7
    nib.Nifti1Image(data, image.affine).to_filename(path)


def doubled(path: Path) -> None:
    (path.parent / "again").mkdir()
    (path.parent / "again" / path.name).write_bytes(path.read_bytes())


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("fault", "name", "kind", "told"),
    [
        (gone, "DWI", "incomplete", "no DWI"),
        (gone, "stroke_mask", "incomplete", "no lesion mask"),
        (doubled, "DWI", "duplicate", "2 files for its DWI"),
        (broken, "DWI", "unreadable", "DWI_space-orig.nii.gz"),
        (broken, "stroke_mask", "unreadable", "stroke_mask.nii.gz"),
        (moved, "stroke_mask", "grid", "lesion mask 26×30×24"),
        (mirrored, "stroke_mask", "left-right", "left and right exchanged"),
        (contradicting, "DWI", "left-right", "qform and sform"),
        (emptied, "stroke_mask", "empty mask", "nothing is marked"),
        (labelled, "stroke_mask", "not 0/1", "its values are 0, 3, 7"),
    ],
)
def test_each_fault_is_found(
    tmp_path: Path, fault: object, name: str, kind: str, told: str
) -> None:
    folder = WRITERS["icpsr38464"](tmp_path / "data", people=3)
    fault(sorted(folder.rglob(f"*{name}*"))[0])  # type: ignore[operator]
    out = tmp_path / "report.json"
    result = run("datasets", "check", "ICPSR 38464", folder, "--json", out)
    assert result.exit_code == 0
    assert told in result.stdout
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["found"] == 3 == sum(report["counts"].values())
    assert {status for status, n in report["counts"].items() if n} == {"complete", kind}
    assert report["counts"][kind] == 1
    (person,) = [one for one in report["people"] if one["faults"]]
    assert person["status"] == kind
    quick = check("icpsr38464", folder, quick=True).counts()
    # Headers show neither what a mask marks nor that data end early.
    assert quick["complete"] == 3 - (kind not in ("empty mask", "not 0/1", "unreadable"))


def test_all_faults_of_somebody_are_told(tmp_path: Path) -> None:
    folder = WRITERS["icpsr38464"](tmp_path, people=2)
    masks = sorted(folder.rglob("*_mask.nii.gz"))[:2]
    moved(masks[0])
    emptied(masks[1])
    first, second = check("icpsr38464", folder).people
    assert {fault.kind for fault in first.faults} == {"grid", "empty mask"}
    assert first.status == "grid"
    assert not second.faults
    assert list(FAULTS).index("grid") < list(FAULTS).index("empty mask")


def made_up(count: int, sessions: int = 1) -> tuple[list[CaseFiles], dict[str, str]]:
    """People of three strata, of 60, 30 and 10 per cent."""
    cases, strata = [], {}
    for number in range(count):
        tenth = number % 10
        person = f"sub-{number:03d}"
        strata[f"soop {person}"] = "small" if tenth < 6 else "medium" if tenth < 9 else "large"
        for session in range(sessions):
            cases.append(CaseFiles("soop", person, str(session), {}))
    return cases, strata


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_on_two_sides(seed: int) -> None:
    cases, strata = made_up(200, sessions=2)
    split = make_split(cases, seed=seed, strata=strata)
    for fold in (None, *range(5)):
        parts = split.divide(cases, fold)
        people = [{case.person for case in part} for part in parts]
        assert sum(map(len, people)) == 200 == len(set().union(*people))
        assert sum(map(len, parts)) == 400
    tests = {tuple(sorted({c.person for c in split.divide(cases, fold)[2]})) for fold in range(5)}
    assert len(tests) == 1
    validated = [{c.person for c in split.divide(cases, fold)[1]} for fold in range(5)]
    assert sum(map(len, validated)) == len(set().union(*validated)) == 170
    assert max(map(len, validated)) - min(map(len, validated)) <= 1


def test_parts_are_alike() -> None:
    cases, strata = made_up(200)
    split = make_split(cases, seed=1, validation=0.2, test=0.1, strata=strata)
    counts = Counter((place.part, place.stratum) for place in split.people.values())
    for stratum, share in (("small", 0.6), ("medium", 0.3), ("large", 0.1)):
        assert abs(counts["validation", stratum] - 40 * share) <= 1
        assert abs(counts["test", stratum] - 20 * share) <= 1
    assert make_split(cases, seed=1, validation=0.2, test=0.1, strata=strata) == split
    assert make_split(cases, seed=2, validation=0.2, test=0.1, strata=strata) != split


def test_those_who_come_later_move_nobody() -> None:
    cases, strata = made_up(60)
    kept = make_split(cases[:40], strata=strata)
    more = extend_split(kept, cases, strata=strata)
    assert {person: more.people[person] for person in kept.people} == dict(kept.people)
    assert len(more.people) == 60
    counts = Counter(place.part for place in more.people.values())
    assert abs(counts["test"] - 9) <= 2
    with pytest.raises(DataSetError, match="20 people are not in the split"):
        kept.divide(cases)
    with pytest.raises(DataSetError, match="no fold 5"):
        kept.divide(cases[:40], 5)


def test_the_smallest_data_sets() -> None:
    cases, strata = made_up(3)
    split = make_split(cases, strata=strata)
    assert all(len(part) == 1 for part in split.divide(cases))
    with pytest.raises(DataSetError, match="too few"):
        make_split(cases[:2], strata=strata)


def test_the_file_is_kept(written: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    first = run("datasets", "split", "icpsr38464", written["icpsr38464"], "-o", path, "--seed", 3)
    assert first.exit_code == 0
    assert "hemorrhagic" in first.stdout
    before = path.read_bytes()
    again = run("datasets", "split", "icpsr38464", written["icpsr38464"], "-o", path)
    assert "4 people were in" in again.stdout
    assert path.read_bytes() == before
    split = read_split(path)
    assert isinstance(split, Split)
    assert split.seed == 3
    for text, told in (("{}", "not a file of"), ('{"people": {}}', "not a file of")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataSetError, match=told):
            read_split(path)
    wrong = json.loads(before)
    next(iter(wrong["people"].values()))["part"] = "both"
    path.write_text(json.dumps(wrong), encoding="utf-8")
    result = run("datasets", "split", "icpsr38464", written["icpsr38464"], "-o", path)
    assert (result.exit_code, "is not known" in result.stderr) == (2, True)


def test_training_keeps_to_the_file(written: dict[str, Path], tmp_path: Path) -> None:
    from strokedx_core.training.config import ConfigError
    from strokedx_core.training.protocol import read_protocol
    from strokedx_core.training.tasks import cases_of

    config = read_protocol("seed/icpsr38464-lesion-general").config
    kept = tmp_path / "run" / "split.json"
    folders = {"icpsr38464": written["icpsr38464"], "split": kept}
    first = cases_of(config, folders)
    assert kept.exists()
    assert cases_of(config, folders) == first
    split = read_split(kept)
    assert [
        len(part) for part in split.divide(find_cases("icpsr38464", written["icpsr38464"]))
    ] == [len(part) for part in first]
    assert config.real is not None
    fold = config.model_copy(update={"real": config.real.model_copy(update={"fold": 1})})
    people = {case.person for case in cases_of(fold, folders).validation}
    assert people == {
        person.split()[1] for person, place in split.people.items() if place.fold == 1
    }
    with pytest.raises(ConfigError, match="name its file"):
        cases_of(fold, {"icpsr38464": written["icpsr38464"]})
