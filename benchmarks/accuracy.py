"""Test accuracy over several seeds: of the default configuration on the digits, or of any other choices.

    python benchmarks/accuracy.py --seeds 1 2 3 4 5
    python benchmarks/accuracy.py --seeds 1 2 3 -- experiment=sign_language_digits override.data.path=FOLDER

Each seed is a whole ``dvc repro`` in a fresh copy of the project, in which ``seed`` is set in ``params.yaml``. The seed
drives the split, too, so that each has other test images.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from omegaconf import OmegaConf

from pipeline import PATHS, copy_project, read_accuracy, run
from turns import machine, print_table


def accuracy(seed: int, overrides: list[str]) -> float:
    """Test accuracy of one ``dvc repro`` with this seed."""
    with tempfile.TemporaryDirectory(prefix="imagewright-") as name:
        folder = Path(name)
        copy_project(folder)
        params = OmegaConf.load(folder / PATHS["params"])
        given = OmegaConf.from_dotlist(overrides)
        params = OmegaConf.merge(params, given, {"override": {"seed": seed}})
        OmegaConf.save(params, folder / PATHS["params"])
        run([sys.executable, "-m", "dvc", "repro"], folder)
        return read_accuracy(folder / PATHS["reports"] / "metrics.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("choices", nargs="*", help="changes to params.yaml, as experiment=digits_mlp_baseline")
    arguments = parser.parse_args()
    measured = {seed: accuracy(seed, arguments.choices) for seed in arguments.seeds}
    rows = [*measured.items(), ("mean", statistics.mean(measured.values()))]
    print_table(f"Test accuracy. {machine()}", ("seed", "accuracy"), rows, ("", ".4f"))


if __name__ == "__main__":
    main()
