"""Stage prepare: reads the source, splits it, and writes packed arrays and a manifest."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from imagewright import targets
from imagewright.data.sources import Source
from imagewright.data.splits import SPLITS, assign_splits
from imagewright.data.store import write_store
from imagewright.stages.command import exit_with
from imagewright.stages.sections import FILE, read_sections, write_sections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    arguments = parser.parse_args()
    config = read_sections(arguments.config, "data", "seed")
    section = config["data"]
    source: Source = targets.build("data", {name: value for name, value in section.items() if name != "split"})
    samples = source.samples()
    splits = assign_splits(
        [sample.label for sample in samples],
        section["split"]["validation"],
        section["split"]["test"],
        config["seed"],
        source.classes,
    )
    height, width = section["image_size"]
    write_store(
        arguments.out,
        classes=source.classes,
        samples=tqdm(samples, "prepare", unit="image", mininterval=0.5, disable=None),
        splits=splits,
        read=source.read,
        shape=(height, width, section["channels"]),
    )
    write_sections(arguments.out / FILE, config)
    sizes = Counter(splits)
    counts = ", ".join(f"{split} {sizes[split]}" for split in SPLITS)
    print(f"prepared {len(samples)} images in {len(source.classes)} classes: {counts}")


if __name__ == "__main__":
    exit_with(main)
