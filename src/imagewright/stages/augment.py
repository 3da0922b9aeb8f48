"""Stage augment: writes augmented copies of the training images, and a preview of the policy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from imagewright.data.augmentation import Policy, write_copies
from imagewright.data.preview import draw_preview
from imagewright.data.store import read_classes, read_split
from imagewright.stages.command import exit_with
from imagewright.stages.sections import FILE, read_sections, write_sections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--prepared", type=Path, required=True, help="folder of the stage prepare")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    parser.add_argument("--preview", type=Path, required=True, help="picture that is written")
    arguments = parser.parse_args()
    config = read_sections(arguments.config, "augment", "seed")
    section, seed = config["augment"], config["seed"]
    source = arguments.prepared / "train"
    _preview(arguments.preview, section, source, read_classes(arguments.prepared), seed)
    total = section["copies"] * len(read_split(source)[1])
    with tqdm(total=total, desc="augment", unit="image", mininterval=0.5, disable=None if total else True) as bar:
        for written in write_copies(
            arguments.out, source, transforms=section["transforms"], copies=section["copies"], seed=seed
        ):
            bar.update(written)
    # The preview is no part of what training gets.
    policy = {name: value for name, value in section.items() if name != "preview"}
    write_sections(arguments.out / FILE, {**config, "augment": policy})
    print(f"augmented: {total} variants ({section['copies']} of each training image), online: {section['online']}")


def _preview(path: Path, section: dict[str, Any], source: Path, classes: list[str], seed: int) -> None:
    """Images spread over the classes, each beside its variants."""
    images, labels = read_split(source)
    by_class = [np.flatnonzero(labels == label) for label in range(len(classes))]
    deepest = max(len(rows) for rows in by_class)
    # The first image of each class, then the second of each, and so on.
    rows = [int(rows[depth]) for depth in range(deepest) for rows in by_class if depth < len(rows)]
    rows = rows[: section["preview"]["images"]]
    originals = images[rows]
    policy = Policy(section["transforms"])
    variants = [policy(originals, (seed, number)) for number in range(section["preview"]["variants"])]
    draw_preview(path, originals, variants, [classes[labels[row]] for row in rows])


if __name__ == "__main__":
    exit_with(main, stage="augment")
