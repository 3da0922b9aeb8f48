"""A folder of images with one sub-folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from imagewright.data.sources import SPLIT_NAMES, Listing, Raw, Refused, Sample
from imagewright.data.sources.files import subfolders, walk
from imagewright.data.sources.labels import sorted_names
from imagewright.errors import DataError
from imagewright.names import shown

__all__ = ["Folder"]

_LOOSE = "image outside of a class folder"


class Folder:
    """``<folder>/<class>/**/<image>`` or ``<folder>/<split>/<class>/**/<image>``.

    The second layout is taken where there is a folder ``train`` and beside it nothing but other splits (validation,
    val, valid, test, in upper or lower case). Sub-folders of a class belong to it.
    """

    def __init__(self, path: str) -> None:
        """Remember the folder; nothing is read yet.

        Args:
            path: of the folder.
        """
        self._folder = Path(path)
        self._listing: Listing | None = None

    def files(self) -> Iterator[Path]:
        self._check()
        return (self._folder / found.path for found in walk(self._folder) if not found.ignored and not found.refused)

    def listing(self) -> Listing:
        """What the folder holds.

        Raises:
            DataError: the folder is missing, holds no class, or mixes splits and classes.
        """
        if self._listing is None:
            self._check()
            self._listing = self._read()
        return self._listing

    def raw(self) -> Iterator[Raw]:
        return (f"{self._folder}/{sample.path}" for sample in self.listing().samples)

    def _check(self) -> None:
        if not self._folder.is_dir():
            there = "is no folder" if self._folder.exists() else "does not exist"
            raise DataError(
                f"data.path: must name a folder with one sub-folder of images a class, got {str(self._folder)!r}, "
                f"which {there}; set data.path in params.yaml under override"
            )

    def _read(self) -> Listing:
        splits = self._splits()
        depth = 1 if splits else 0
        classes = sorted_names({shown(name) for name in self._class_folders(splits)})
        labels = {name: label for label, name in enumerate(classes)}
        ignored: Counter[str] = Counter()
        refused: dict[str, Refused] = {}
        samples = []
        for found in walk(self._folder):
            parts = found.path.split("/", depth + 1)
            if found.ignored:
                ignored[found.ignored] += 1
            elif len(parts) < depth + 2:
                ignored[_LOOSE] += 1
            elif found.refused:
                refused[found.path] = found.refused
            else:
                samples.append(Sample(found.path, labels[shown(parts[depth])], splits.get(parts[0])))
        if not classes:
            raise DataError(
                f"data.path: {str(self._folder)!r} has no sub-folder with images in it"
                f"{f', but {ignored[_LOOSE]} images beside them' if ignored[_LOOSE] else ''}; put the images of each "
                f"class into a folder with its name"
            )
        remarks = []
        if ignored[_LOOSE]:
            remarks.append(f"images outside of any class folder, which are ignored: {ignored[_LOOSE]}")
        return Listing(classes, samples, dict(sorted(ignored.items())), refused, remarks)

    def _splits(self) -> dict[str, str]:
        """Folder -> split, if the folders are those of splits."""
        names = subfolders(self._folder)
        splits = {name: SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}
        if "train" not in splits.values():
            return {}
        others = [name for name in names if name not in splits]
        if others:
            raise DataError(
                f"data.path: {str(self._folder)!r} has folders of splits ({', '.join(map(repr, splits))}) and others "
                "beside "
                f"them ({', '.join(repr(shown(name)) for name in others[:5])}); keep classes inside the splits, or "
                f"have no folder of the name of a split"
            )
        twice = [split for split, count in Counter(splits.values()).items() if count > 1]
        if twice:
            both = ", ".join(repr(name) for name, split in splits.items() if split in twice)
            raise DataError(f"data.path: {str(self._folder)!r} has two folders for the same split: {both}; join them")
        return splits

    def _class_folders(self, splits: dict[str, str]) -> set[str]:
        """Names of the class folders, also of those without an image."""
        if not splits:
            return set(subfolders(self._folder))
        return {name for split in splits for name in subfolders(self._folder / split)}
