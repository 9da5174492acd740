from __future__ import annotations

from napari.components import ViewerModel
from napari.layers import Image

from napari_strokedx.layers import layer_source
from strokedx_core.sample import sample_case, sample_stroke
from strokedx_core.volume import read_volume


def test_every_scan_of_the_case_opens_and_the_first_is_on_top(viewer: ViewerModel) -> None:
    viewer.open_sample("napari-strokedx", "head")
    assert [layer.name for layer in reversed(viewer.layers)] == [
        f"Synthetic head {modality}" for modality in sample_case()
    ]
    assert all(isinstance(layer, Image) for layer in viewer.layers)
    assert [layer.visible for layer in reversed(viewer.layers)] == [
        True,
        *[False] * (len(viewer.layers) - 1),
    ]
    assert viewer.layers.selection.active is viewer.layers[-1]


def test_the_layers_hold_the_scans_of_the_files(viewer: ViewerModel) -> None:
    viewer.open_sample("napari-strokedx", "head")
    for layer, (path, _) in zip(reversed(viewer.layers), sample_case().values(), strict=True):
        volume, expected = layer_source(layer).volume(), read_volume(path)
        assert (volume.data == expected.data).all()
        assert (volume.affine == expected.affine).all()


def test_a_stroke_opens_with_the_sequences_that_the_lesion_widget_asks_for(
    viewer: ViewerModel,
) -> None:
    viewer.open_sample("napari-strokedx", "stroke")
    layers = list(reversed(viewer.layers))
    assert [layer.name for layer in layers] == ["Synthetic stroke DWI", "Synthetic stroke ADC"]
    assert [layer.visible for layer in layers] == [True, False]
    for layer, path in zip(layers, sample_stroke().scans.values(), strict=True):
        assert (layer_source(layer).volume().data == read_volume(path).data).all()
