"""Stage prepare: reads and checks the images of the source, splits them, and writes packed arrays and a report."""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from imagewright.data.checks import (
    check_class_names,
    check_refused,
    check_trainable,
    conflicting,
    empty_classes,
    official_gaps,
)
from imagewright.data.decoding import Form
from imagewright.data.duplicates import find_duplicates, join
from imagewright.data.findings import RECORD, DuplicateGroup, Findings
from imagewright.data.reading import Reading, Staging, disk_errors, read_images
from imagewright.data.sources import SPLITS, Listing, Source
from imagewright.data.splits import assign_splits
from imagewright.data.store import StoredSample, write_store
from imagewright.errors import DataError
from imagewright.memory import return_memory
from imagewright.names import shown
from imagewright.stages.command import exit_with
from imagewright.stages.sections import FILE, read_sections, write_sections
from imagewright.stages.source import open_source

_LINES = 4096  # of samples.csv that are put together at once
_SPARE = 64 * 2**20  # bytes of the disk beside the pixels: tables and the report
# Times as many images as the smallest class from which on the largest is worth a word.
_IMBALANCE = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    parser.add_argument("--report", type=Path, required=True, help="folder of the report that is written")
    arguments = parser.parse_args()
    config = read_sections(arguments.config, "data", "seed")
    # What was begun and not finished is never taken for whole: it has another name.
    partial = arguments.out.with_name(f"{arguments.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with disk_errors(partial):
            findings = _prepare(config["data"], config["seed"], partial, arguments.report)
            write_sections(partial / FILE, config)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(arguments.out, ignore_errors=True)
    partial.replace(arguments.out)
    _say(findings, arguments.report)


def _prepare(section: Mapping[str, Any], seed: int, out: Path, report: Path) -> Findings:
    """From the source to the store in ``out`` and the pages in ``report``."""
    source = open_source(section)
    listing = source.listing()
    check_class_names(listing.classes)
    height, width = section["image_size"]
    auto = section["channels"] == "auto"
    form = Form(
        height,
        width,
        3 if auto else section["channels"],
        section["fit"],
        tuple(section["background"]),
        section["value_range"],
        section["checks"]["max_pixels"],
        section["checks"]["min_side"],
    )
    shape = (len(listing.samples), height, width, form.channels)
    _check_room(out, shape)
    # The splits are known when all images are: until then, the pixels stand in one file.
    with Staging(out / "staging.bin", shape, create=True) as staging:
        reading = _read(source, staging, form)
        check_refused(listing, reading.refused, section["checks"]["max_rejected"])
        if auto and reading.records["grey"][_used(reading)].all():
            staging.keep_channels(1)
            _hash_again(reading, staging)
        findings = _find(listing, reading, staging, section, seed)
        _store(out, findings, staging)
        # The report takes half a second to import, and memory that the steps before are done with by now.
        return_memory()
        from imagewright.inspection.report import write_data_report

        shutil.rmtree(report, ignore_errors=True)
        write_data_report(report, findings, title="The data")
    staging.path.unlink()
    return findings


def _check_room(folder: Path, shape: tuple[int, int, int, int]) -> None:
    needed = 2 * int(np.prod(shape)) + _SPARE
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder.parent}: the disk must have {needed / 2**20:,.0f} MiB free for {shape[0]} images of "
            f"{shape[1]}x{shape[2]}x{shape[3]}, got {free / 2**20:,.0f}; make room or choose a smaller data.image_size"
        )


def _read(source: Source, staging: Staging, form: Form) -> Reading:
    count = staging.shape[0]
    reading = Reading(np.zeros(count, RECORD))
    with tqdm(total=count, desc="prepare", unit="image", mininterval=0.5, disable=None) as bar:
        for portion in read_images(source.raw(), staging, form):
            bar.update(reading.add(portion))
    return reading


def _used(reading: Reading) -> npt.NDArray[np.int64]:
    """Rows of the images that can be used."""
    mask = np.ones(len(reading.records), dtype=np.bool_)
    mask[list(reading.refused)] = False
    return np.flatnonzero(mask)


def _hash_again(reading: Reading, staging: Staging) -> None:
    """Digests of pixels with fewer channels than they were read with."""
    rows = iter(range(staging.shape[0]))
    for images in staging.portions():
        for row, image in zip(rows, images, strict=False):
            if row not in reading.refused:
                reading.records["sha256"][row] = hashlib.sha256(image.tobytes()).digest()


def _find(listing: Listing, reading: Reading, staging: Staging, section: Mapping[str, Any], seed: int) -> Findings:
    """Duplicates, what is left out for them, and the splits."""
    labels = np.array([sample.label for sample in listing.samples], dtype=np.int64)
    used = _used(reading)
    settings = section["duplicates"]
    duplicates = [
        DuplicateGroup(group.kind, tuple(used[list(group.members)].tolist()))
        for group in find_duplicates(
            reading.records["sha256"][used],
            reading.records["hash"][used],
            lambda rows: staging.rows(used[rows]),
            near=settings["near"],
            max_distance=settings["max_distance"],
            min_correlation=settings["min_correlation"],
        )
    ]
    conflicts, dropped = conflicting(duplicates, labels, settings["conflicts"])
    kept = np.setdiff1d(used, sorted(dropped))
    if not len(kept):
        raise DataError(
            f"data.duplicates.conflicts: {settings['conflicts']} leaves none of {len(used)} images, for each is "
            f"also there under another label; mend the labels, or set it to keep"
        )
    empty = empty_classes(listing.classes, labels[kept].tolist(), section["empty_class"])
    present, numbers = np.unique(labels[kept], return_inverse=True)
    classes = [listing.classes[label] for label in present]
    official = [listing.samples[row].split for row in kept]
    check_trainable(classes, numbers.tolist(), official)
    # References to the same few words take less memory than the words.
    splits = np.full(len(labels), "", dtype=object)
    splits[kept] = assign_splits(
        numbers.tolist(),
        section["split"]["validation"],
        section["split"]["test"],
        seed,
        classes,
        official=official,
        units=join(len(labels), [*(group.members for group in duplicates), *_groups(listing)])[kept].tolist(),
    )
    warnings = official_gaps(classes, numbers.tolist(), splits[kept].tolist())
    if conflicts:
        warnings.append(_of_conflicts(conflicts, settings["conflicts"]))
    warnings += [f"class {shown(listing.classes[label])!r} has no usable image and is left out" for label in empty]
    warnings += _of_shared(duplicates, splits)
    warnings += _of_imbalance(classes, numbers)
    return Findings(
        listing=listing,
        records=reading.records,
        notes=reading.notes,
        refused=reading.refused,
        left_out=dict.fromkeys(sorted(dropped), "conflict"),
        duplicates=duplicates,
        splits=splits,
        warnings=warnings,
        pixels=staging.rows,
    )


def _groups(listing: Listing) -> Iterator[Sequence[int]]:
    """Rows of each group of the user's."""
    rows: dict[str, list[int]] = {}
    for row, sample in enumerate(listing.samples):
        if sample.group is not None:
            rows.setdefault(sample.group, []).append(row)
    return iter(rows.values())


def _of_conflicts(conflicts: Sequence[DuplicateGroup], policy: str) -> str:
    exact = sum(group.kind == "exact" for group in conflicts)
    return (
        f"groups of duplicates with more than one label: {len(conflicts)} ({exact} of equal pixels); "
        f"data.duplicates.conflicts is {policy}"
    )


def _of_shared(duplicates: Sequence[DuplicateGroup], splits: npt.NDArray[np.object_]) -> list[str]:
    """Splits are shared only where the source itself has drawn them."""
    apart: Counter[str] = Counter()
    for group in duplicates:
        present = {split for split in splits[list(group.members)].tolist() if split}
        if len(present) > 1:
            apart[" and ".join(split for split in SPLITS if split in present)] += 1
    return [f"groups of duplicates that {names} of the source share: {count}" for names, count in apart.items()]


def _of_imbalance(classes: Sequence[str], labels: npt.NDArray[np.int64]) -> list[str]:
    counts = Counter(labels.tolist())
    (most, high), *_, (least, low) = [*counts.most_common(), *counts.most_common()[-1:]]
    if high < _IMBALANCE * low:
        return []
    sentence = (
        f"class {shown(classes[most])!r} has {high} images and {shown(classes[least])!r} {low}; "
        f"trainer.class_weights: balanced lets them count the same"
    )
    return [sentence]


def _store(out: Path, findings: Findings, staging: Staging) -> None:
    listing, splits = findings.listing, findings.splits
    present = sorted({sample.label for sample, split in zip(listing.samples, splits, strict=True) if split})
    label_of = {label: index for index, label in enumerate(present)}

    def samples() -> Iterator[StoredSample]:
        rows = np.flatnonzero(splits != "")
        for part in np.array_split(rows, len(rows) // _LINES + 1):
            records = findings.records[part]
            columns = (records[name].tolist() for name in ("sha256", "height", "width", "format", "mode"))
            for row, split, digest, height, width, kind, mode in zip(
                part.tolist(), splits[part].tolist(), *columns, strict=True
            ):
                sample = listing.samples[row]
                yield StoredSample(
                    path=shown(sample.path),
                    sha256=digest.hex(),
                    label=label_of[sample.label],
                    split=split,
                    height=height,
                    width=width,
                    format=kind.decode(),
                    mode=mode.decode(),
                    group=shown(sample.group or ""),
                    notes=findings.notes.get(row, ""),
                )

    def portions() -> Iterator[npt.NDArray[np.uint8]]:
        first = 0
        for images in staging.portions():
            kept = splits[first : first + len(images)] != ""
            yield images if kept.all() else images[kept]
            first += len(images)

    write_store(
        out,
        classes=[listing.classes[label] for label in present],
        samples=samples(),
        sizes={split: int((splits == split).sum()) for split in SPLITS},
        portions=portions(),
        shape=staging.shape[1:],
    )


def _say(findings: Findings, report: Path) -> None:
    listing, splits = findings.listing, findings.splits
    counts = ", ".join(f"{split} {(splits == split).sum()}" for split in SPLITS)
    print(f"prepared {(splits != '').sum()} images in {len(listing.classes)} classes: {counts}")
    reasons = Counter(why.reason for why in (*listing.refused.values(), *findings.refused.values()))
    kinds = Counter(group.kind for group in findings.duplicates)
    for words, counted in (
        ("unusable and left out", reasons),
        ("left out by policy", Counter(findings.left_out.values())),
        ("ignored", Counter(listing.ignored)),
        ("groups of duplicates", kinds),
    ):
        if counted:
            print(f"{words}: {', '.join(f'{count} {kind}' for kind, count in counted.most_common())}")
    for sentence in (*listing.remarks, *findings.warnings):
        print(f"note: {sentence}")
    print(f"see {report / 'index.html'}")


if __name__ == "__main__":
    exit_with(main, stage="prepare")
