"""Stage normalize: measures the training images and settles the input normalization."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from imagewright.data.statistics import measure, shift_and_scale
from imagewright.data.store import read_split
from imagewright.stages.command import exit_with
from imagewright.stages.sections import FILE, read_sections, write_sections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--prepared", type=Path, required=True, help="folder of the stage prepare")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    arguments = parser.parse_args()
    config = read_sections(arguments.config, "normalize")
    scheme = config["normalize"]["scheme"]
    statistics = measure(read_split(arguments.prepared / "train")[0])
    shift, scale = shift_and_scale(statistics, scheme)
    document = {"scheme": scheme, "shift": shift, "scale": scale, **dataclasses.asdict(statistics)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "statistics.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    write_sections(arguments.out / FILE, config)
    means = ", ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in zip(statistics.mean, statistics.std, strict=True))
    print(f"measured {statistics.images} training images: mean pixel value {means}; scheme {scheme}")


if __name__ == "__main__":
    exit_with(main, stage="normalize")
