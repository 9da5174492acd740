from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from lesion_rule import BLOBS, SPACING, ball, scan, use_rule
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel

from napari_strokedx.grids import grid_of
from napari_strokedx.lesion_shown import keep_numbers
from napari_strokedx.widgets.lesion import MASK, LesionWidget
from strokedx_core.tasks import MODALITIES
from strokedx_core.volume import volume_from_array

from .conftest import grid

LESIONS = [ball(*BLOBS[side]) for side in ("left", "right")]


@pytest.fixture
def widget(
    qtbot, viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[LesionWidget]:
    use_rule(monkeypatch, tmp_path)
    made = LesionWidget(napari_viewer=viewer)
    qtbot.addWidget(made)
    made.strip_box.setChecked(False)
    yield made
    made.close()
    qtbot.waitUntil(lambda: made.job is None, timeout=60_000)


@pytest.fixture
def run(qtbot, widget: LesionWidget) -> Callable[[], None]:
    def to_the_end() -> None:
        widget.run_button.click()
        assert widget.job is not None
        qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)

    return to_the_end


def add_scan(viewer: ViewerModel, name: str = "sub-01_DWI", **place) -> Image:
    keywords = {"scale": (SPACING,) * 3, "units": ("mm",) * 3, "axis_labels": ("S", "P", "L")}
    return viewer.add_image(scan(), name=name, **{**keywords, **place})


def results(viewer: ViewerModel) -> list[Labels]:
    return [layer for layer in viewer.layers if layer.metadata.get("strokedx", {}).get("output")]


def rows_of(widget: LesionWidget) -> list[list[str]]:
    table = widget.table
    return [
        [table.item(row, column).text() for column in range(3)] for row in range(table.rowCount())
    ]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(bool), b.astype(bool)
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def move(qtbot, widget: LesionWidget, value: int) -> None:
    widget.threshold.slider.setValue(value)
    qtbot.waitUntil(lambda: not widget.threshold.timer.isActive(), timeout=5_000)


def test_names_become_sequences(viewer: ViewerModel, widget: LesionWidget) -> None:
    names = {"sub-01_DWI": "DWI", "adc": "ADC", "t2_flair": "FLAIR", "photo": None}
    layers = {name: add_scan(viewer, name) for name in names}
    for name, sequence in names.items():
        assert widget.rows.box(layers[name]).currentData() == sequence, name
    # The result lies on the first.
    assert list(widget.rows.layers()) == ["DWI", "FLAIR", "ADC"]


def test_a_choice_by_hand_stays(viewer: ViewerModel, widget: LesionWidget) -> None:
    first, second = add_scan(viewer, "DWI"), add_scan(viewer, "photo")
    widget.rows.box(second).choose("DWI")
    assert widget.rows.layers() == {"DWI": second}
    assert widget.rows.box(first).currentData() is None
    first.name = "ADC"
    third = add_scan(viewer, "FLAIR")
    assert widget.rows.layers() == {"DWI": second, "FLAIR": third}
    viewer.layers.remove(second)
    assert widget.rows.layers() == {"FLAIR": third}


def test_what_is_missing_is_said_before_a_run(viewer: ViewerModel, widget: LesionWidget) -> None:
    assert "Open a scan first" in widget.status.text()
    assert not widget.run_button.isEnabled()
    layer = add_scan(viewer, "photo")
    assert "which layer shows which sequence" in widget.status.text()
    assert not widget.click_tool.isEnabled()
    widget.rows.box(layer).choose("FLAIR")
    assert widget.run_button.isEnabled()
    viewer.layers.clear()
    flat = viewer.add_image(np.zeros((5, 6)), name="DWI")
    assert widget.status.text() == "DWI: a 2-D image, where a volume (3-D) is needed"
    viewer.layers.remove(flat)


def test_the_notice(widget: LesionWidget) -> None:
    text = " ".join(label.text() for label in widget.findChildren(QLabel)).lower()
    assert "research use only" in text
    assert "hemorrhagic masks were validated on simulated blood alone" in text


def test_a_run_labels_each_lesion_and_lists_it(
    viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    layer = add_scan(viewer)
    run()
    (result,) = results(viewer)
    assert isinstance(result, Labels)
    for number, truth in enumerate(LESIONS, start=1):
        assert dice(result.data == number, truth) > 0.85
    assert np.array_equal(np.unique(result.data), [0, 1, 2])
    assert np.array_equal(result.scale, layer.scale)
    ml = [(result.data == number).sum() * SPACING**3 / 1000 for number in (1, 2)]
    assert rows_of(widget) == [["1", f"{ml[0]:.1f}", "left"], ["2", f"{ml[1]:.1f}", "right"]]
    pattern = r"2 lesions in sub-01_DWI: [\d.]+\sml; \d+\.\d\ss on (CPU|GPU \(.*\))"
    assert re.fullmatch(pattern, widget.status.text())


@pytest.mark.parametrize("code", ["RAS", "LPS", "AIR", "SLP"])
def test_files_of_any_orientation(
    code: str,
    viewer: ViewerModel,
    widget: LesionWidget,
    run: Callable,
    write: Callable,
) -> None:
    # The scan's axes are S, P, L; the file's are others, and the grid oblique.
    straight = volume_from_array(scan(), grid("SPL", (SPACING,) * 3))
    import nibabel as nib

    turned = nib.Nifti1Image(straight.data, straight.affine)
    ornt = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(turned.affine), nib.orientations.axcodes2ornt(code)
    )
    turned = turned.as_reoriented(ornt)
    affine = grid(code, (SPACING,) * 3, (5.0, -4.0, 6.0))
    viewer.open(
        write(np.asarray(turned.dataobj), affine, "case_FLAIR.nii.gz"), plugin="napari-strokedx"
    )
    run()
    (result,) = results(viewer)
    data, meta, _ = result.as_layer_data_tuple()
    native = grid_of(meta, data.shape).to_native(np.asarray(data))
    expected = nib.Nifti1Image(LESIONS[0].astype(np.uint8), straight.affine).as_reoriented(ornt)
    assert dice(native == 1, np.asarray(expected.dataobj)) > 0.85
    assert [row[2] for row in rows_of(widget)] == ["left", "right"]
    for row in widget.table._rows:
        assert result.data[row.voxel] == row.number


def test_running_again_piles_up_nothing(
    viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    add_scan(viewer)
    for kind in ("general", "hemorrhagic", "ischemic"):
        widget.type_box.choose(kind)
        run()
        (result,) = results(viewer)
        assert result.name == f"sub-01_DWI {MASK}"
        assert result.data.any() == (kind != "hemorrhagic")
        assert widget.table.isHidden() == (kind == "hemorrhagic")
        if kind == "hemorrhagic":
            assert widget.status.text().startswith("No lesion in sub-01_DWI; ")


def test_the_threshold_acts_at_once_on_what_is_kept(
    qtbot, viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    add_scan(viewer)
    run()
    (result,) = results(viewer)
    sizes = {50: (result.data != 0).sum()}
    for value in (99, 1, 50):
        move(qtbot, widget, value)
        assert widget.job is None
        sizes.setdefault(value, (result.data != 0).sum())
        assert widget.threshold.text.text() == f"{value / 100:.2f}"
    assert sizes[99] < sizes[50] < sizes[1]
    assert (result.data != 0).sum() == sizes[50]
    # What the slider left is a result like any other.
    run()
    assert results(viewer) == [result]


def test_the_threshold_leaves_work_by_hand_alone(
    qtbot, viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    add_scan(viewer)
    run()
    (result,) = results(viewer)
    result.data[2:4, 2:4, 2:4] = 1
    painted = result.data.copy()
    move(qtbot, widget, 90)
    assert np.array_equal(result.data, painted)
    assert "by hand" in widget.status.text()
    run()
    assert np.array_equal(result.data, painted)
    assert len(results(viewer)) == 2
    assert "changed by hand and kept" in widget.flags.text()


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("how", ["mouse", "keys"])
def test_the_table_jumps_to_a_lesion(
    how: str,
    order: tuple[int, ...],
    qtbot,
    viewer: ViewerModel,
    widget: LesionWidget,
    run: Callable,
) -> None:
    add_scan(viewer, scale=(SPACING, -SPACING, SPACING), translate=(5, -7, 11))
    run()
    (result,) = results(viewer)
    viewer.dims.order = order
    widget.show()
    table = widget.table
    # The first arrow key leads to the first row.
    for row in (1, 0) if how == "mouse" else (0, 1):
        if how == "mouse":
            place = table.visualItemRect(table.item(row, 1)).center()
            QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        else:
            table.setFocus()
            QTest.keyClick(table, Qt.Key.Key_Down)
        at = np.rint(result.world_to_data(viewer.dims.point)).astype(int)
        assert result.data[tuple(at)] == row + 1
        seen = list(viewer.dims.displayed)
        assert np.allclose(
            np.array(viewer.scene.camera.center)[-2:], np.array(viewer.dims.point)[seen]
        )
        assert result.selected_label == row + 1


def test_cancel_stops_and_adds_nothing(
    qtbot, viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    add_scan(viewer)
    widget.run_button.click()
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: widget.job is None, timeout=60_000)
    assert widget.status.text() == "Cancelled."
    assert not results(viewer)
    run()
    assert len(results(viewer)) == 1


def test_layers_may_go_meanwhile(qtbot, viewer: ViewerModel, widget: LesionWidget) -> None:
    add_scan(viewer)
    add_scan(viewer, "ADC")
    widget.run_button.click()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    assert len(results(viewer)) == 1
    assert len(rows_of(widget)) == 2


def test_a_closed_widget_lets_go(viewer: ViewerModel, widget: LesionWidget, run: Callable) -> None:
    add_scan(viewer)
    run()
    widget.close()
    assert not widget.rows.layers()
    assert widget.click_tool.start_box.count() == 0
    viewer.add_image(scan(), name="ADC")
    assert not widget.rows.any()
    widget.show()
    assert set(widget.rows.layers()) == {"DWI", "ADC"}


def test_errors_are_one_line(
    viewer: ViewerModel, widget: LesionWidget, run: Callable, messages: list[str]
) -> None:
    viewer.add_image(np.full((8, 9, 10), 3.0), name="DWI", contrast_limits=(0, 1))
    run()
    assert "DWI: constant" in widget.status.text()
    assert messages == [widget.status.text()]
    assert not results(viewer)
    assert widget.run_button.isEnabled()


def test_sequences_on_other_grids_and_flags(
    viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    add_scan(viewer)
    coarse = scan()[::2, ::2, ::2]
    add_scan(viewer, "sub-01_FLAIR", scale=(2 * SPACING,) * 3).data = coarse
    widget.orientation_box.choose("SPL")
    run()
    (result,) = results(viewer)
    assert result.data.shape == scan().shape
    assert dice(result.data, LESIONS[0] | LESIONS[1]) > 0.7
    assert widget.orientation_box.isHidden()


def test_directions_are_asked_for_where_nothing_says_them(
    viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    widget.show()
    viewer.add_image(scan()[:, :, ::-1], name="DWI", scale=(SPACING,) * 3, units=("mm",) * 3)
    assert widget.orientation_box.isVisible()
    run()
    assert "axes were taken" in widget.flags.text()
    assert [row[2] for row in rows_of(widget)] == ["right", "left"]
    widget.orientation_box.choose("SPR")
    run()
    assert "axes were taken" not in widget.flags.text()
    assert [row[2] for row in rows_of(widget)] == ["left", "right"]


def test_the_adc_is_computed_where_the_b_value_is_known(
    viewer: ViewerModel, widget: LesionWidget, run: Callable
) -> None:
    widget.show()
    add_scan(viewer)
    assert not widget.b_box.isVisible()
    add_scan(viewer, "sub-01_b0").data = 5 * scan()
    assert widget.b_box.isVisible()
    for b_value in (0, 1000):
        widget.b_box.setValue(b_value)
        run()
        session = widget._case.clicks()
        seen = session._case.image[MODALITIES.index("ADC")]
        assert bool(seen.any()) == (b_value > 0)
    add_scan(viewer, "sub-01_ADC")
    assert not widget.b_box.isVisible()
    assert widget._request().b_value == 0


def test_a_lesion_keeps_its_number() -> None:
    before = np.array([0, 7, 7, 0, 3, 0, 0])
    now = np.array([1, 1, 0, 0, 2, 0, 3])
    assert keep_numbers(now, before, 3).tolist() == [0, 7, 3, 1]
    # Two that have grown together are one; one that fell apart is one and a new one.
    assert keep_numbers(np.array([1, 1, 1, 1, 1, 0, 0]), before, 1).tolist() == [0, 7]
    assert keep_numbers(np.array([0, 2, 1, 0, 0, 0, 0]), before, 2).tolist() == [0, 7, 1]
