"""StrokeDx in napari: readers, a writer, sample data and dock widgets on top of `strokedx_core`.

Importing this package imports neither napari nor PyTorch; its modules do so when napari asks for
what they contribute.
"""
