"""Captions: what is said, in every language, and that it was measured."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import atlases
import nibabel as nib
import numpy as np
import pytest

from strokedx_core.anatomy.atlas import Atlas, read_atlas
from strokedx_core.captions import wording
from strokedx_core.captions.facts import CaseFindings
from strokedx_core.captions.findings import measure_findings
from strokedx_core.captions.history import History, HistoryError, read_history
from strokedx_core.captions.pattern import PATTERNS
from strokedx_core.captions.schema import findings_json
from strokedx_core.captions.wording import LANGUAGES, Caption, Wording
from strokedx_core.tasks import LESION_TYPES
from strokedx_core.volume import Volume, volume_from_array

LEFT, RIGHT = (-42.0, 8.0, 30.0), (38.0, 8.0, -14.0)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return read_atlas(*atlases.write(tmp_path_factory.mktemp("atlas")))


def volume(data: np.ndarray) -> Volume:
    return Volume(data, atlases.AFFINE, nib.Nifti1Header(), Path("mask.nii.gz"))


def image(data: np.ndarray) -> Volume:
    return volume_from_array(data.astype(np.float32), atlases.AFFINE, name="image")


@pytest.fixture(scope="module")
def two(atlas: Atlas) -> CaseFindings:
    """A large lesion on the left and a small one on the right, all sequences, some blood."""
    large = atlases.ball(LEFT, 16)
    lesion = large | atlases.ball(RIGHT, 8)
    tissue = 500 + 3 * atlases.places()[..., 1] % 7
    return measure_findings(
        volume(lesion),
        {
            "DWI": image(np.where(lesion, 2.0, 1.0) * tissue),
            "ADC": image(np.where(large, 0.5, 1.0) * (800 + tissue / 500)),
            "FLAIR": image(tissue),
        },
        in_mni=True,
        atlas=atlas,
        hemorrhagic=volume(large & atlases.ball(LEFT, 7)),
    )


def every_caption(found: CaseFindings, words: Wording) -> list[Caption]:
    return [
        words.case(found, History(63.4, "female", 12, True)),
        *(words.lesion(one) for one in found.lesions),
        *(words.slice(one) for one in found.slices),
    ]


def test_english(two: CaseFindings) -> None:
    words = Wording("en", "ischemic")
    assert words.case(two, History(63.4, "female", 12, False)).text == (
        "63 years old, female, NIHSS 12, no prior stroke. "
        f"2 infarcts, {two.findings['volume'].value:.0f} ml in all, on both sides. "
        f"The largest is {two.lesions[0].findings['volume'].value:.0f} ml, 32 mm long, in the left "
        "frontal lobe (99 %), territory of the left middle cerebral artery, ADC 50 % of the other "
        "side, blood in 11 % of it. Pattern: territories of several arteries. The mean ADC is 56 % "
        "of the other side's; 89 % of the voxels lie under 620 × 10⁻⁶ mm²/s. Seen on DWI, but not "
        "on FLAIR: DWI-FLAIR mismatch. Blood: 1.7 ml. Research use only: not a medical device."
    )
    assert words.lesion(two.lesions[1]).text == (
        "2: infarct, 2.1 ml, 16 mm long, in the right frontal lobe, territory of the right middle "
        "cerebral artery, ADC 100 % of the other side"
    )


def test_german(two: CaseFindings) -> None:
    words = Wording("de", "ischemic")
    assert words.lesion(two.lesions[1]).text == (
        "2: Infarkt, 2,1 ml, 16 mm lang, Lage: Frontallappen rechts, Stromgebiet: A. cerebri media "
        "rechts, ADC 100 % der Gegenseite"
    )
    text = words.case(two, History(63.4, "female", 12, True)).text
    assert text.startswith("63 Jahre alt, weiblich, NIHSS 12, früherer Schlaganfall. 2 Infarkte, ")
    assert text.endswith("Nur für die Forschung: kein Medizinprodukt.")


def test_one_lesion_without_anything_else() -> None:
    found = measure_findings(volume(atlases.ball(LEFT, 9)))
    words = Wording("en")
    expected = f"{found.findings['volume'].value:.1f} ml"
    assert words.case(found).text == (
        f"One stroke lesion, {expected}. It is 18 mm long. Research use only: not a medical device."
    )
    assert words.lesion(found.lesions[0]).text == f"1: stroke lesion, {expected}, 18 mm long"


def test_no_lesion() -> None:
    found = measure_findings(volume(np.zeros(atlases.SHAPE, bool)))
    assert Wording("en", "hemorrhagic").case(found).text == (
        "No haemorrhage is marked. Research use only: not a medical device."
    )


def test_smallest_lesion_is_said_to_be_under_a_hundredth() -> None:
    mask = np.zeros(atlases.SHAPE, bool)
    mask[3, 4, 5] = True
    fine = atlases.AFFINE @ np.diag([0.2, 0.2, 0.2, 1])
    found = measure_findings(Volume(mask, fine, nib.Nifti1Header(), Path("mask.nii.gz")))
    assert Wording("en").lesion(found.lesions[0]).text == "1: stroke lesion, under 0.01 ml"


def test_less_than_half_in_one_territory_is_possibly(atlas: Atlas) -> None:
    labels = atlas.labels
    mask = np.zeros(atlases.SHAPE, bool)
    for number, count in ((7, 40), (1, 35), (19, 35)):
        mask[tuple(np.argwhere(labels == number)[:count].T)] = True
    found = measure_findings(volume(mask), in_mni=True, atlas=atlas)
    shares = [share["of_lesion"] for share in found.findings["arteries"].value]
    assert max(shares) < 0.5
    parts = Wording("en")._places(found.findings, "case.")
    assert [p.text for p in parts if p.text.startswith("possibly territory of")]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("lesion_type", LESION_TYPES)
def test_statements_rest_on_findings(two: CaseFindings, language: str, lesion_type: str) -> None:
    content = findings_json(two)
    for caption in every_caption(two, Wording(language, lesion_type)):
        assert "{" not in caption.text
        assert ",," not in caption.text
        assert "  " not in caption.text
        place = 0
        for statement in caption.statements:
            place = caption.text.find(statement.text.rstrip("."), place)
            assert place >= 0, "statements are what the text says, in its order"
            assert statement.rests_on
            for name in statement.rests_on:
                level, *rest = name.split(".")
                if level == "history":
                    continue
                where: Any = content[level]
                if level != "case":
                    key = "number" if level == "lesions" else "index"
                    number, *rest = rest
                    where = next(one for one in where if one[key] == int(number))
                assert "value" in where[rest[0]], f"{name} was not measured"


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_say_the_same(language: str) -> None:
    folder = Path(wording.__file__).parent / "languages"
    english, other = (
        tomllib.loads((folder / f"{code}.toml").read_text(encoding="utf-8"))
        for code in ("en", language)
    )

    def fields(words: Any, place: str = "") -> dict[str, Any]:
        if isinstance(words, dict):
            return {k: v for n, w in words.items() for k, v in fields(w, f"{place}.{n}").items()}
        if isinstance(words, list):
            return {k: v for n, w in enumerate(words) for k, v in fields(w, f"{place}.{n}").items()}
        return {place: sorted(set(re.findall(r"{(\w+)}", words)))}

    one, two_ = fields(english), fields(other)
    assert one.keys() == two_.keys()
    assert {k: v for k, v in one.items() if "count.0" not in k} == {
        k: v for k, v in two_.items() if "count.0" not in k
    }
    assert set(other["pattern"]) == set(PATTERNS)
    assert set(other["type"]) == set(LESION_TYPES)


def test_unknown_language_and_type() -> None:
    with pytest.raises(ValueError, match="language must be"):
        Wording("xx")
    with pytest.raises(ValueError, match="lesion type must be"):
        Wording("en", "tumour")


class TestHistory:
    def table(self, folder: Path, *lines: str) -> Path:
        path = folder / "participants.tsv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    @pytest.mark.parametrize(
        ("head", "row", "expected"),
        [
            ("sex\tage\tnihss\tpriorstroke", "M\t71\t4\t1", History(71, "male", 4, True)),
            ("Sex\tAge\tNIHSS\tPrior-stroke", "female\t71.5\t4\tno",
             History(71.5, "female", 4, False)),
            ("sex\tage\tnihss\tpriorstroke", "1\t170\t-1\tmaybe", History()),
            ("sex\tage\tnihss\tpriorstroke", "n/a\t\tNaN\tunknown", History()),
            ("race\tbmi", "x\t25", History()),
        ],
    )  # fmt: skip
    def test_only_what_is_there(
        self, tmp_path: Path, head: str, row: str, expected: History
    ) -> None:
        table = self.table(tmp_path, f"participant_id\t{head}", f"sub-7\t{row}")
        assert read_history(table, "7") == read_history(table, "sub-7") == expected

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            (("participant_id\tage", "sub-8\t3"), "0 times"),
            (("participant_id\tage", "sub-7\t3", "7\t4"), "2 times"),
            (("participant_id,age", "sub-7,3"), "tab-separated"),
        ],
    )
    def test_unusable(self, tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
        with pytest.raises(HistoryError, match=words):
            read_history(self.table(tmp_path, *lines), "7")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(HistoryError, match=r"missing\.tsv"):
            read_history(tmp_path / "missing.tsv", "7")
