"""Where a voxel lies: hemisphere, lobe or deep structure, arterial territory, MNI coordinate."""
