from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Points
from qtpy.QtWidgets import QApplication

from napari_strokedx.caption_layers import _HEIGHT, _WIDTH, place_labels
from napari_strokedx.caption_sheet import CaptionRow, CaptionSheet, Spot
from napari_strokedx.sample_data import head
from napari_strokedx.widgets.captions import CaptionsWidget


def spots_at(*places: tuple[int, int], slices: range = range(3, 6)) -> list[Spot]:
    """Lesions of one voxel a slice, with labels of different length."""
    return [
        Spot(n, n, f"{n}: 1{n}.5 ml, left frontal lobe", np.array([[k, y, x] for k in slices]))
        for n, (y, x) in enumerate(places, start=1)
    ]


class TestPlaces:
    @pytest.mark.parametrize("zoom", [0.7, 2.0, 6.0])
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_no_words_cover_others(self, zoom: float, axis: int) -> None:
        rng = np.random.default_rng(0)
        spots = [
            Spot(n, n, "12: 1.5 ml, right thalamus"[: 8 + n], rng.integers(0, 60, (12, 3)))
            for n in range(1, 15)
        ]
        places, owners = place_labels(spots, axis, (5.0, 0.9, 0.9), zoom, (60, 60, 60))
        down, along = (other for other in range(3) if other != axis)
        scale = np.array([5.0, 0.9, 0.9]) * zoom
        for number in np.unique(places[:, axis]):
            here = np.flatnonzero(places[:, axis] == number)
            for a in here:
                for b in here[here > a]:
                    wide = (len(owners[a].label) + len(owners[b].label)) * _WIDTH / 2
                    apart = np.abs(places[a] - places[b]) * scale
                    assert apart[along] >= wide - 1e-6 or apart[down] >= _HEIGHT - 1e-6

    def test_words_stand_at_their_lesions_where_there_is_room(self) -> None:
        places, _ = place_labels(spots_at((20, 60)), 0, (1, 1, 1), 4.0, (10, 100, 120))
        assert places.tolist() == [[k, 20, 60] for k in (3, 4, 5)]

    def test_words_stay_within_the_image(self) -> None:
        places, owners = place_labels(
            spots_at((20, 118), (50, 1)), 0, (1, 1, 1), 4.0, (10, 100, 120)
        )
        half = np.array([len(spot.label) * _WIDTH / 2 for spot in owners])
        assert (places[:, 2] * 4 + half <= 480 + 1e-6).all()
        assert (places[:, 2] * 4 - half >= -1e-6).all()


class TestSheet:
    @pytest.fixture
    def sheet(self) -> CaptionSheet:
        rows = [("case", 0), ("lesion", 1), ("slice", 4)]
        texts = ["One infarct.\tIt is small.", "1: infarct", "slice 4: ä"]
        return CaptionSheet(
            tuple(CaptionRow(*row, text, text) for row, text in zip(rows, texts, strict=True)),
            (), 0, {"notice": "Research use only"},
        )  # fmt: skip

    def test_edits_are_kept_where_the_program_says_the_same(self, sheet: CaptionSheet) -> None:
        edited = sheet.edit(1, "1: mine").edit(2, "slice: mine")
        again = CaptionSheet((*sheet.rows[:2], CaptionRow("slice", 4, "new", "new")), (), 0)
        merged = again.with_edits_of(edited)
        assert [row.text for row in merged.rows] == [sheet.rows[0].text, "1: mine", "new"]

    def test_files(self, sheet: CaptionSheet, tmp_path: Path) -> None:
        sheet = sheet.edit(1, "1: mine")
        for kind in ("json", "tsv", "txt"):
            sheet.save(tmp_path / f"captions.{kind}", mask_has_changed=False)
        content = json.loads((tmp_path / "captions.json").read_text(encoding="utf-8"))
        assert content["notice"] == "Research use only"
        assert content["mask_has_changed"] is False
        assert content["captions"][1]["text"] == "1: mine"
        assert content["captions"][1]["written"] == "1: infarct"
        with (tmp_path / "captions.tsv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert [row["edited"] for row in rows] == ["no", "yes", "no"]
        assert rows[0]["text"] == sheet.rows[0].text
        assert (tmp_path / "captions.txt").read_text(encoding="utf-8") == sheet.plain()

    def test_other_endings_are_refused(self, sheet: CaptionSheet, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"\.json, \.tsv, \.txt"):
            sheet.save(tmp_path / "captions.docx")
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def lesions(viewer: ViewerModel) -> Labels:
    """The sample's FLAIR with two lesions on it, one of them in the left half of the patient."""
    data, keywords, _ = next(entry for entry in head() if "FLAIR" in entry[1]["name"])
    image = viewer.add_image(data, **keywords)
    labels = np.zeros(image.data.shape, np.int32)
    middle = [size // 2 for size in labels.shape]
    # The sample's last axis runs to the left.
    labels[middle[0] - 1 : middle[0] + 2, middle[1] - 6 : middle[1] + 6, middle[2] + 30 : -60] = 1
    labels[middle[0] + 2, middle[1] - 3 : middle[1] + 3, middle[2] - 40 : middle[2] - 34] = 2
    place = {name: getattr(image, name) for name in ("scale", "translate", "units")}
    return viewer.add_labels(labels, name="lesions", **place)


@pytest.fixture
def widget(qtbot, viewer: ViewerModel) -> Iterator[CaptionsWidget]:
    made = CaptionsWidget(napari_viewer=viewer)
    qtbot.addWidget(made)
    yield made
    made.close()
    qtbot.waitUntil(lambda: made.job is None, timeout=60_000)


@pytest.fixture
def run(qtbot, widget: CaptionsWidget) -> Callable[[], None]:
    def to_the_end() -> None:
        widget.run_button.click()
        assert widget.job is not None
        qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)

    return to_the_end


def texts(viewer: ViewerModel) -> str:
    overlay = viewer.canvas.overlays.get("StrokeDx captions")
    return overlay.text.replace("\n", " ") if overlay is not None and overlay.visible else ""


def points(viewer: ViewerModel) -> list[Points]:
    return [layer for layer in viewer.layers if isinstance(layer, Points)]


def test_without_labels_it_says_what_is_missing(
    viewer: ViewerModel, widget: CaptionsWidget
) -> None:
    assert "Open a scan first" in widget.status.text()
    viewer.add_image(np.ones((4, 5, 6)), name="FLAIR")
    assert "Find lesions first" in widget.status.text()
    assert not widget.run_button.isEnabled()


def test_from_labels_to_captions_in_layers_and_table(
    qtbot, viewer: ViewerModel, lesions: Labels, widget: CaptionsWidget,
    run: Callable[[], None], tmp_path: Path,
) -> None:  # fmt: skip
    run()
    assert widget.captioned is not None
    sheet = widget.captioned.sheet
    assert len(sheet.spots) == 2
    assert "left" in sheet.text("lesion", 1)
    assert "right" in sheet.text("lesion", 2)
    # Under the mouse.
    assert list(lesions.features["index"]) == [1, 2]
    assert lesions.features["caption"][0] == sheet.text("lesion", 1)
    # Beside the lesions.
    (layer,) = points(viewer)
    shown = {
        (int(place[0]), text)
        for place, text in zip(layer.data, layer.features["caption"], strict=True)
    }
    slices = {spot.number: set(spot.voxels[:, 0].tolist()) for spot in sheet.spots}
    assert shown == {(k, spot.label) for spot in sheet.spots for k in slices[spot.number]}
    # Of the slice at hand.
    for number in sorted(slices[1] | slices[2]):
        viewer.dims.set_point(0, lesions.data_to_world((number, 0, 0))[0])
        assert texts(viewer).startswith(f"Slice {number}: ")
    viewer.dims.set_point(0, lesions.data_to_world((0, 0, 0))[0])
    assert texts(viewer) == ""
    # One table behind all of them.
    row = next(n for n, r in enumerate(sheet.rows) if (r.level, r.number) == ("lesion", 1))
    widget.table.item(row, 1).setText("what I say")
    assert lesions.features["caption"][0] == "what I say"
    widget.copy()
    assert "what I say" in QApplication.clipboard().text()
    widget.save(tmp_path / "captions.tsv")
    assert "what I say\tyes" in (tmp_path / "captions.tsv").read_text(encoding="utf-8")
    # Going to a lesion by its row.
    widget.table.setCurrentCell(row, 0)
    assert viewer.dims.current_step[0] in slices[1]
    # Again: no further layers, and what was changed by hand stays.
    run()
    assert len(points(viewer)) == 1
    assert widget.captioned.sheet.text("lesion", 1) == "what I say"
    # The mask changes: seen at once, and gone when it is changed back.
    before = lesions.data.copy()
    lesions.paint((1, 5, 5), 3)
    assert widget.stale
    assert not widget.old.isHidden()
    lesions.data = before
    assert not widget.stale
    viewer.layers.remove(lesions)
    assert points(viewer) == []
    assert texts(viewer) == ""
    assert widget.table.rowCount() == 0


def test_another_language(
    viewer: ViewerModel, lesions: Labels, widget: CaptionsWidget, run: Callable[[], None]
) -> None:
    widget.language_box.choose("de")
    widget.type_box.choose("ischemic")
    run()
    assert widget.captioned is not None
    assert "Infarkt" in widget.captioned.sheet.text("case")
    assert "kein Medizinprodukt" in widget.captioned.sheet.text("case")


def test_cancel_leaves_everything_as_it_was(
    qtbot, viewer: ViewerModel, lesions: Labels, widget: CaptionsWidget
) -> None:
    widget.run_button.click()
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: widget.job is None, timeout=60_000)
    assert widget.captioned is None
    assert points(viewer) == []
