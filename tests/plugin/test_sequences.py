from __future__ import annotations

import pytest

from napari_strokedx.sequences import guess_sequence, guess_sequences


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("sub-01_DWI", "DWI"),
        ("isoDWI", "DWI"),
        ("ep2d_diff_tra_TRACEW", "DWI"),
        ("DWI b1000", "DWI"),
        ("sub-1_rec-TRACE_dwi", "DWI"),
        ("adc", "ADC"),
        ("sub-1_rec-ADC_dwi", "ADC"),
        ("ep2d_diff_b1000_ADC", "ADC"),
        ("Subject01_b0", "B0"),
        ("b=0", "B0"),
        ("dwi_b0", "B0"),
        ("t2_flair", "FLAIR"),
        ("FLAIR [1]", "FLAIR"),
        ("t2_tirm_dark-fluid", "FLAIR"),
        ("SWI", "SWI"),
        ("T2*", "SWI"),
        ("t2star", "SWI"),
        ("T2_tse", "T2W"),
        ("Synthetic head T2W", "T2W"),
        ("t1_mprage_sag", "T1W"),
        ("sub-02_T1w", "T1W"),
        ("T1C", "T1W"),
        ("head", None),
        ("green", None),
        ("T1map", None),
        ("DWI brain mask", None),
        ("sub-01_msk", None),
    ],
)
def test_a_name_tells_the_sequence(name: str, sequence: str | None) -> None:
    assert guess_sequence(name) == sequence


@pytest.mark.parametrize(
    ("names", "preferred", "sequences"),
    [
        (["sub-01_DWI", "adc", "t2_flair"], None, ["DWI", "ADC", "FLAIR"]),
        (["sub-01_dwi", "sub-01_adc", "sub-02_dwi"], None, [None, None, "DWI"]),
        (["sub-01_dwi", "sub-01_adc", "sub-02_dwi"], 1, ["DWI", "ADC", None]),
        (["sub-01_dwi", "sub-01_adc", "sub-02_flair"], 0, ["DWI", "ADC", None]),
        (["DWI", "DWI [1]", "ADC"], None, [None, "DWI", "ADC"]),
        (["picture", "Subject01_b0", "Subject01_DWI"], 0, [None, "B0", "DWI"]),
        ([], None, []),
    ],
)
def test_one_case_is_chosen_and_each_sequence_once(
    names: list[str], preferred: int | None, sequences: list[str | None]
) -> None:
    assert guess_sequences(names, preferred=preferred) == sequences
