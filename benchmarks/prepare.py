"""The stage prepare: images a second against a plain loop, peak memory, and what a second ``dvc repro`` costs.

    python benchmarks/prepare.py --small FOLDER

Ours is the whole stage as DVC starts it: it lists the folder, decodes and checks every image in one process for each
core, hashes them, looks for duplicates, splits, writes the arrays and the table, and draws the report. The yardstick is
``plain_loop.py``, one process that opens each file with Pillow, resizes and appends, and at the end stacks. Both are
timed as subprocesses from start to end, in turns, over the same files, which a first run of each has brought to memory.

Small images: 60,000 JPEGs of 32x32, in FOLDER (one sub-folder a class, or splits with such folders; CIFAR-10 is to be
had), or made here of noise. Photos: JPEGs of 500x375 made here, of colour noise with the spectrum of photos.

Peak memory is the sum of what all processes of the stage hold by themselves and share (PSS), looked at every 10 ms.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from omegaconf import OmegaConf
from PIL import Image

from pipeline import PATHS, copy_project, environment, run
from turns import machine, pair, print_table, take_turns

PLAIN_LOOP = Path(__file__).with_name("plain_loop.py")
CLASSES = 10


@dataclass(frozen=True)
class Images:
    """A folder of images, and the size that they are brought to, in pixels."""

    folder: Path
    count: int
    size: int


def make_images(folder: Path, count: int, height: int, width: int) -> None:
    """JPEGs of colour noise whose amplitudes fall with the frequency, as those of photos do."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width))
    for number in range(count):
        phases = np.exp(2j * np.pi * random.random((3, *amplitude.shape)))
        layers = np.fft.irfft2(amplitude * phases, s=(height, width))
        layers = (layers - layers.mean()) / layers.std()
        pixels = np.clip(128 + 55 * np.moveaxis(layers, 0, -1), 0, 255).astype(np.uint8)
        path = folder / f"class {number % CLASSES}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def take_some(source: Path, folder: Path, count: int) -> None:
    """Copies of evenly chosen files."""
    files = sorted(path for path in source.rglob("*.jpg") if path.is_file())
    for path in files[:: max(1, len(files) // count)][:count]:
        copied = folder / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copied)


def project_for(images: Images, parent: Path) -> Path:
    """A copy of the project that is set to these images, with its configuration composed."""
    project = parent / f"project for {images.folder.name}"
    if not project.is_dir():
        project.mkdir()
        copy_project(project)
        params = OmegaConf.load(project / PATHS["params"])
        params.data = "folder"
        params.override = {"data.path": str(images.folder), "data.image_size": [images.size, images.size]}
        OmegaConf.save(params, project / PATHS["params"])
        run([sys.executable, "-m", "dvc", "repro", "compose"], project)
    return project


def stage(project: Path) -> list[str]:
    out = ["--out", str(project / "out"), "--report", str(project / "report")]
    return [sys.executable, "-m", "imagewright.stages.prepare", "--config", PATHS["config"], *out]


def speed(images: Images, parent: Path, repetitions: int) -> list[tuple[object, ...]]:
    project = project_for(images, parent)
    plain = [sys.executable, str(PLAIN_LOOP), str(images.folder), str(images.size)]
    sides = take_turns(
        {"prepare": lambda: run(stage(project), project), "plain loop": lambda: run(plain, project)},
        repetitions,
        warm_up=True,
    )
    ours, yardstick = sides.values()
    return [
        (title, *pair(*([images.count / times[which] for times in side] for side in (ours, yardstick))))
        for title, which in ((f"{images.folder.name}, a second", 0), (f"{images.folder.name}, a second of a core", 1))
    ]


def peak_memory(images: Images, parent: Path) -> float:
    """MiB of all processes of the stage together."""
    project = project_for(images, parent)
    with subprocess.Popen(
        stage(project), cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, held_by(process.pid))
            time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"prepare ended with {process.returncode}")
    return peak / 2**20


def held_by(pid: int) -> int:
    total = 0
    try:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.Error:  # a process ended meanwhile
        return 0
    return total


def again(images: Images, parent: Path, repetitions: int) -> list[tuple[object, ...]]:
    """Seconds of ``dvc repro`` and ``dvc status`` when nothing has changed."""
    project = project_for(images, parent)
    first = run([sys.executable, "-m", "dvc", "repro", "prepare"], project)
    rows: list[tuple[object, ...]] = [("dvc repro prepare, the first", first[0])]
    commands = {"dvc repro prepare, again": ["repro", "prepare"], "dvc status prepare": ["status", "prepare"]}
    times = take_turns(
        {
            name: lambda words=words: run([sys.executable, "-m", "dvc", *words], project)[0]
            for name, words in commands.items()
        },
        repetitions,
        warm_up=True,
    )
    return rows + [(name, float(np.median(seconds))) for name, seconds in times.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=Path, help="folder of small JPEGs; by default 60,000 are made")
    parser.add_argument("--photos", type=int, default=2000, help="photos that are made (default: 2000)")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of each side that count (default: 5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagewright-") as name:
        parent = Path(name)
        small, photos, tenth = parent / "small", parent / "photos", parent / "tenth"
        if arguments.small:
            small.symlink_to(arguments.small.resolve())
        else:
            print("making small images", file=sys.stderr)
            make_images(small, 60_000, 32, 32)
        print("making photos", file=sys.stderr)
        make_images(photos, arguments.photos, 375, 500)
        count = sum(path.suffix == ".jpg" for path in small.rglob("*"))
        take_some(small.resolve(), tenth, count // 10)
        many, few = Images(small, count, 32), Images(tenth, count // 10, 32)
        rows = [
            row
            for images in (many, Images(photos, arguments.photos, 64))
            for row in speed(images, parent, arguments.repetitions)
        ]
        print_table(
            f"Images that prepare reads: {count:,} small to 32x32, {arguments.photos:,} photos to 64x64; median of "
            f"{arguments.repetitions}. {machine()}",
            ("images", "prepare", "plain loop", "prepare / plain loop", "by turn"),
            rows,
            ("", ",.0f", ",.0f", ".2f", ""),
        )
        memory = [(f"{images.count:,}", peak_memory(images, parent)) for images in (few, many)]
        print_table(
            f"Peak memory of prepare; the second is {memory[1][1] / memory[0][1]:.2f} of the first. {machine()}",
            ("images", "MiB"),
            memory,
            ("", ",.0f"),
        )
        print_table(
            f"DVC with {count:,} files. {machine()}",
            ("command", "seconds"),
            again(many, parent, arguments.repetitions),
            ("", ".2f"),
        )


if __name__ == "__main__":
    main()
