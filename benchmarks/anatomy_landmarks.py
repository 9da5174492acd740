"""Where the parts that the anatomy network tells apart lie in MNI152 space, on the average.

Writes `anatomy/landmarks.toml` of the package from whole-head label maps and the arterial atlas::

    python benchmarks/anatomy_landmarks.py --data DIR

DIR holds `head_labels/` and `atlas/`. Label maps that are held out for validation are not used.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import tomli_w

from strokedx_core.anatomy.atlas import read_atlas
from strokedx_core.anatomy.regions import STRUCTURES, TERRITORIES
from strokedx_core.synthesis.anatomy import load_anatomy
from strokedx_core.synthesis.labels import load_head
from strokedx_core.synthesis.mni import head_to_mni

HELD_OUT = ("seg_19", "seg_20")


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    data = os.environ.get("STROKEDX_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), required=not data)
    parser.add_argument("--cache", type=Path, help="folder for prepared label maps")
    parser.add_argument(
        "--out", type=Path,
        default=Path(__file__).parents[1] / "src/strokedx_core/anatomy/landmarks.toml",
    )  # fmt: skip
    options = parser.parse_args()
    atlas = read_atlas(*(options.data / "atlas" / f"arterial_territories.{end}"
                         for end in ("nii.gz", "tsv")))  # fmt: skip
    centres, volumes = defaultdict(list), defaultdict(list)
    for path in sorted((options.data / "head_labels").glob("*.nii.gz")):
        head = load_head(path, options.cache)
        if head.name in HELD_OUT:
            continue
        to_mni = head_to_mni(head)
        anatomy = load_anatomy(path, head, to_mni, atlas, options.cache)
        matrix = to_mni.numpy()
        for labels, names in (
            (anatomy.structure.numpy(), STRUCTURES),
            (anatomy.territory.numpy(), tuple(TERRITORIES)),
        ):
            for number, name in enumerate(names, start=1):
                for sign, half in ((1, anatomy.right.numpy()), (-1, ~anatomy.right.numpy())):
                    voxels = np.argwhere((labels == number) & half)
                    place = matrix[:, :3] @ voxels.mean(0) + matrix[:, 3]
                    centres[name].append(place * [sign, 1, 1])
                    volumes[name].append(len(voxels) / 1000)
        print(head.name, flush=True)
    found = {
        name: {
            "place": [round(float(x), 1) for x in np.mean(places, axis=0)],
            "volume_ml": round(float(np.mean(volumes[name])), 2),
        }
        for name, places in centres.items()
    }
    about = (
        "# Mean centroid in MNI152 space (mm) of the right half of each part, that of the left\n"
        "# mirrored, and its mean volume; from 18 label maps, by benchmarks/anatomy_landmarks.py.\n"
        "# Territories are those of the arterial atlas of Liu et al., CC BY-SA 4.0.\n"
    )
    options.out.write_text(about + tomli_w.dumps({"landmarks": found}), encoding="utf-8")


if __name__ == "__main__":
    main()
