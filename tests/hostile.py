"""Makes a folder of images with everything in it that spoils a training, and says of each what should become of it."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["CLASSES", "GOOD", "HEIGHT", "MAX_PIXELS", "WIDTH", "Hostile", "Item", "make", "over", "texture"]

Pixels = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 48, 40
GOOD = 12  # faultless images of each class
MAX_PIXELS = 200_000  # what data.checks.max_pixels must be, so that files which are too large cost little
# The last one is Latin-1, not UTF-8. They would run a command, end a tag or leave the folder where a name is not taken
# for what it is.
CLASSES = (
    "cat",
    "$(touch pwned) `touch pwned`",
    '<img src=x onerror=alert(1)> & "犬" \'',
    os.fsdecode(b"caf\xe9 $\\up$ ..\\up"),
)
_TINTS = ((220, 60, 40), (50, 200, 70), (40, 70, 220), (190, 180, 60))
_CAT, _SHELL, _TAG, _LATIN = CLASSES
_BROKEN, _TRUNCATED, _WRONG = "broken", "truncated", "wrong format"


@dataclass(frozen=True)
class Item:
    """A file or folder, and what should become of it.

    Attributes:
        path: below the folder, with surrogate escapes for bytes that are no UTF-8.
        kind: what it is, in a few words.
        outcome: used, rejected, ignored, or nothing (an empty folder, of which no word needs to be said).
        why: reason of a rejected image, kind of what is ignored.
        note: part of what should be noted of an image that is used; empty for no note at all.
        pixels: what should be stored, uint8 (H, W, 3), or None.
        tolerance: mean difference from it, in pixel values; 0 for equal.
    """

    path: str
    kind: str
    outcome: str = "used"
    why: str = ""
    note: str = ""
    pixels: Pixels | None = None
    tolerance: float = 0.0

    @property
    def label(self) -> str:
        return self.path.split("/")[0]


@dataclass
class Hostile:
    """A folder of images.

    Attributes:
        folder: holds one sub-folder a class.
        items: all that lies in it.
        exact: groups of paths with equal pixels.
        near: groups of paths that look the same.
    """

    folder: Path
    items: list[Item] = field(default_factory=list)
    exact: list[set[str]] = field(default_factory=list)
    near: list[set[str]] = field(default_factory=list)

    def of(self, outcome: str) -> dict[str, Item]:
        return {item.path: item for item in self.items if item.outcome == outcome}

    def add(self, path: str, kind: str, content: bytes | None, **expected: Any) -> None:
        """Write a file, or only note down what has been written otherwise."""
        if content is not None:
            place = self.folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        self.items.append(Item(path, kind, **expected))


def texture(seed: int, tint: tuple[int, int, int] = (128, 128, 128)) -> Pixels:
    """An image (H, W, 3) that looks like no other of another seed, in a colour of its class."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(float)
    noise = random.normal(0, 2, (HEIGHT, WIDTH, 1))
    return np.clip(0.55 * smooth + 0.45 * np.array(tint) + noise, 1, 254).astype(np.uint8)


def over(colour: npt.NDArray[Any], alpha: npt.NDArray[Any], background: tuple[int, int, int]) -> Pixels:
    """Colour (H, W, 3) with alpha (H, W), 0 to 255, laid over a background."""
    share = alpha[..., None].astype(float) / 255
    return np.rint(colour * share + np.array(background) * (1 - share)).astype(np.uint8)


def make(folder: Path) -> Hostile:
    """Write the folder; the same bytes each time.

    Args:
        folder: must not exist. Beside it, ``<folder>.elsewhere`` is made, where links lead to.
    """
    made = Hostile(folder)
    folder.mkdir(parents=True)
    seeds = iter(range(1000, 9999))
    for label, (name, tint) in enumerate(zip(CLASSES, _TINTS, strict=True)):
        for number in range(GOOD):
            pixels = texture(100 * label + number, tint)
            made.add(f"{name}/{number:02d}.png", "good", _file(pixels, "PNG"), pixels=pixels)
    for part in (
        *(_formats, _depths, _transparent, _animated, _turned, _names, _linked, _small),
        *(_cut, _foreign, _malformed, _ignored, _duplicates),
    ):
        part(made, seeds)
    return made


def _file(pixels: Any, file_format: str, mode: str | None = None, **keys: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    target = io.BytesIO()
    (image.convert(mode) if mode else image).save(target, file_format, **keys)
    return target.getvalue()


def _grey(pixels: Pixels) -> Pixels:
    return pixels[..., 1]


def _three(grey: npt.NDArray[Any]) -> Pixels:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


# --- images that are odd and usable -----------------------------------------------------------------------------------


def _formats(made: Hostile, seeds: Iterator[int]) -> None:
    lossless: dict[str, tuple[str, dict[str, Any]]] = {
        "plain.bmp": ("BMP", {}),
        "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
        "plain.tiff": ("TIFF", {}),
        "lossless.webp": ("WEBP", {"lossless": True}),
        "interlaced.PNG": ("PNG", {}),
        "png named.jpg": ("PNG", {}),
        "no suffix": ("PNG", {}),
        "deep/er/below.png": ("PNG", {}),
        "folder.jpg/inside.png": ("PNG", {}),
    }
    for name, (file_format, keys) in lossless.items():
        pixels = texture(next(seeds), _TINTS[0])
        made.add(f"{_CAT}/{name}", name, _file(pixels, file_format, **keys), pixels=pixels)
    pixels = texture(next(seeds), _TINTS[0])
    made.add(f"{_CAT}/garbage behind.png", "PNG with garbage", _file(pixels, "PNG") + b"\0garbage" * 99, pixels=pixels)
    lossy: dict[str, dict[str, Any]] = {
        "usual.JPG": {},
        "progressive.jpeg": {"progressive": True},
        "jpeg named.png": {},
        "broken exif.jpg": {"exif": b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0garbage"},
    }
    for name, keys in lossy.items():
        pixels = texture(next(seeds), _TINTS[0])
        content = _file(pixels, "JPEG", quality=95, subsampling=0, **keys)
        note = "EXIF" if "exif" in keys else ""
        made.add(f"{_CAT}/{name}", name, content, pixels=pixels, tolerance=3, note=note)
    pixels = texture(next(seeds), _TINTS[0])
    made.add(f"{_CAT}/lossy.webp", "lossy WebP", _file(pixels, "WEBP", quality=90), pixels=pixels, tolerance=6)
    pixels = texture(next(seeds), _TINTS[0])
    made.add(f"{_CAT}/cmyk.jpg", "CMYK JPEG", _file(pixels, "JPEG", "CMYK", quality=95), pixels=pixels, tolerance=4)
    pixels = texture(next(seeds), _TINTS[0])
    made.add(f"{_CAT}/cmyk.tif", "CMYK TIFF", _file(pixels, "TIFF", "CMYK"), pixels=pixels, tolerance=1)
    pixels = texture(next(seeds), _TINTS[0])
    palette = Image.fromarray(pixels).quantize(32)
    shown = np.array(palette.getpalette(), dtype=np.uint8).reshape(-1, 3)[np.asarray(palette)]
    made.add(f"{_CAT}/palette.png", "palette PNG", _file(palette, "PNG"), pixels=shown)
    pixels = texture(next(seeds), _TINTS[0])
    palette = Image.fromarray(pixels).quantize(32)
    shown = np.array(palette.getpalette(), dtype=np.uint8).reshape(-1, 3)[np.asarray(palette)]
    made.add(f"{_CAT}/palette.gif", "GIF", _file(palette, "GIF"), pixels=shown)


def _depths(made: Hostile, seeds: Iterator[int]) -> None:
    def grey() -> Pixels:
        return _grey(texture(next(seeds)))

    values = grey()
    made.add(f"{_SHELL}/grey.png", "grey PNG", _file(values, "PNG"), pixels=_three(values))
    values = grey()
    made.add(f"{_SHELL}/grey.jpg", "grey JPEG", _file(values, "JPEG", quality=95), pixels=_three(values), tolerance=3)
    values = grey()
    bits = (values > 128).astype(np.uint8) * np.uint8(255)
    made.add(f"{_SHELL}/1 bit.png", "1-bit PNG", _file(bits, "PNG", "1"), pixels=_three(bits))
    values = grey()
    bits = (values > 128).astype(np.uint8) * np.uint8(255)
    made.add(f"{_SHELL}/1 bit.bmp", "1-bit BMP", _file(bits, "BMP", "1"), pixels=_three(bits))
    deep = grey().astype(np.uint16) * 257
    scaled = _three(np.rint(deep / 65535 * 255))
    made.add(f"{_SHELL}/16 bit.png", "16-bit PNG", _file(deep, "PNG"), pixels=scaled)
    deep = grey().astype(np.uint16) * 257
    scaled = _three(np.rint(deep / 65535 * 255))
    made.add(f"{_SHELL}/16 bit.tif", "16-bit TIFF", _file(deep, "TIFF"), pixels=scaled)
    whole = grey().astype(np.int32) * 200
    scaled = _three(np.rint(whole / 65535 * 255))
    made.add(f"{_SHELL}/32 bit.tif", "TIFF of 32-bit numbers", _file(whole, "TIFF"), pixels=scaled)
    whole = grey().astype(np.int32) * 5000 - 90000
    scaled = _three(np.rint((whole - whole.min()) / (whole.max() - whole.min()) * 255))
    note = "scaled by their own range"
    made.add(f"{_SHELL}/wide.tif", "TIFF of large numbers", _file(whole, "TIFF"), pixels=scaled, note=note)
    real = (grey() / 255).astype(np.float32)
    made.add(f"{_SHELL}/float.tif", "TIFF from 0 to 1", _file(real, "TIFF"), pixels=_three(np.rint(real * 255.0)))
    real = (grey() / 100 - 1.25).astype(np.float32)
    scaled = _three(np.rint((real - real.min()).astype(float) / float(real.max() - real.min()) * 255))
    made.add(f"{_SHELL}/negative.tif", "TIFF below 0", _file(real, "TIFF"), pixels=scaled, tolerance=0.01, note=note)
    real = (grey() / 255).astype(np.float32)
    real[3, 4] = np.nan
    made.add(f"{_SHELL}/nan.tif", "TIFF with NaN", _file(real, "TIFF"), outcome="rejected", why=_BROKEN)


def _transparent(made: Hostile, seeds: Iterator[int]) -> None:
    white = (255, 255, 255)
    alpha = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    for name, file_format, keys in (
        ("alpha.png", "PNG", {}),
        ("alpha.webp", "WEBP", {"lossless": True, "exact": True}),
    ):
        colour = texture(next(seeds), _TINTS[2])
        content = _file(np.dstack([colour, alpha]), file_format, **keys)
        made.add(f"{_TAG}/{name}", name, content, pixels=over(colour, alpha, white), tolerance=0.6)
    grey = _grey(texture(next(seeds), _TINTS[2]))
    made.add(
        *(f"{_TAG}/grey alpha.png", "grey PNG with alpha", _file(np.dstack([grey, alpha]), "PNG")),
        pixels=over(_three(grey), alpha, white),
        tolerance=0.6,
    )
    palette = Image.fromarray(texture(next(seeds), _TINTS[2])).quantize(16)
    indices = np.asarray(palette)
    shown = np.array(palette.getpalette(), dtype=np.uint8).reshape(-1, 3)[indices]
    shown[indices == 3] = white
    content = _file(palette, "PNG", transparency=3)
    made.add(f"{_TAG}/palette alpha.png", "palette PNG with a transparent colour", content, pixels=shown)
    colour = texture(next(seeds), _TINTS[2])
    colour[10:30, 10:30] = (7, 8, 9)
    shown = colour.copy()
    shown[10:30, 10:30] = white
    content = _file(colour, "PNG", transparency=(7, 8, 9))
    made.add(f"{_TAG}/key colour.png", "PNG with a transparent colour", content, pixels=shown)


def _animated(made: Hostile, seeds: Iterator[int]) -> None:
    for name, file_format, keys, note, tolerance in (
        ("animated.gif", "GIF", {"duration": 50}, "first frame of an animation", 8),
        ("animated.webp", "WEBP", {"lossless": True, "duration": 50}, "first frame of an animation", 0),
        ("animated.png", "PNG", {"duration": 50}, "first frame of an animation", 0),
        ("pages.tif", "TIFF", {}, "first of several pages", 0),
    ):
        first, *others = (Image.fromarray(texture(next(seeds), _TINTS[2])) for _ in range(3))
        content = _file(first, file_format, save_all=True, append_images=others, **keys)
        pixels = np.asarray(first)
        made.add(f"{_TAG}/{name}", name, content, pixels=pixels, tolerance=tolerance, note=note)


# Orientation of EXIF -> what was done to the upright image, so that it has to be turned back.
_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def _turned(made: Hostile, seeds: Iterator[int]) -> None:
    def tags(orientation: int) -> Image.Exif:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return exif

    for orientation, turn in _STORED.items():
        upright = texture(next(seeds), _TINTS[3])
        stored = np.ascontiguousarray(turn(upright))
        note = f"turned by its orientation ({orientation})" if orientation > 1 else ""
        content = _file(stored, "JPEG", quality=95, subsampling=0, exif=tags(orientation))
        name = f"{_LATIN}/turned {orientation}.jpg"
        made.add(name, f"JPEG of orientation {orientation}", content, pixels=upright, tolerance=3, note=note)
    for name, file_format in (("turned.png", "PNG"), ("turned.webp", "WEBP")):
        upright = texture(next(seeds), _TINTS[3])
        keys = {"lossless": True} if file_format == "WEBP" else {}
        content = _file(np.ascontiguousarray(_STORED[6](upright)), file_format, exif=tags(6), **keys)
        made.add(f"{_LATIN}/{name}", name, content, pixels=upright, note="turned by its orientation (6)")
    upright = texture(next(seeds), _TINTS[3])
    content = _file(np.ascontiguousarray(_STORED[8](upright)), "TIFF", tiffinfo={0x0112: 8})
    made.add(f"{_LATIN}/turned.tif", "TIFF of orientation 8", content, pixels=upright, note="turned by its orientation")


def _names(made: Hostile, seeds: Iterator[int]) -> None:
    names = (
        *("-rf.png", "--help.png", " spaces  .png", "new\nline.png", "tab\t.png", "back\\slash\\..\\up.png"),
        *("single ' and double \".png", "$(touch pwned).png", "`touch pwned`.png", "; touch pwned;.png"),
        *("<script>alert(1)<script>.png", '"><img src=x onerror=alert(2)>.png', "&lt;b&gt; &amp;.png"),
        *("{{ 7 * 7 }}{% raw %}.png", "${data.path}.png", "%s %d %00.png", "=1+1|calc!A1.png", "comma,semi;colon.png"),
        *("日本語.png", "русский.png", "עברית.png", "emoji 🐈‍⬛.png", "cafe\u0301.png", "right\u202eto left.png"),
        *("e" * 246 + ".png", "字" * 82 + ".png", "con.png", "~.png", "*?[a].png", "null.png"),
        *(os.fsdecode(b"latin \xe9\xff.png"), os.fsdecode(b"\x1b[31mred\x07.png")),
    )
    for name in names:
        pixels = texture(next(seeds), _TINTS[1])
        made.add(f"{_SHELL}/{name}", f"the name {name[:20]!a}", _file(pixels, "PNG"), pixels=pixels)


def _linked(made: Hostile, seeds: Iterator[int]) -> None:
    elsewhere = made.folder.with_name(f"{made.folder.name}.elsewhere")
    (elsewhere / "more").mkdir(parents=True)
    for link, target in (("link.png", "file.png"), ("linked folder/inside.png", "more/inside.png")):
        pixels = texture(next(seeds), _TINTS[0])
        (elsewhere / target).write_bytes(_file(pixels, "PNG"))
        made.add(f"{_CAT}/{link}", "behind a link", None, pixels=pixels)
    (made.folder / _CAT / "link.png").symlink_to(elsewhere / "file.png")
    (made.folder / _CAT / "linked folder").symlink_to(elsewhere / "more")
    refused: dict[str, Any] = {"outcome": "rejected", "why": "not readable"}
    (made.folder / _CAT / "broken link.png").symlink_to(elsewhere / "nothing.png")
    made.add(f"{_CAT}/broken link.png", "a link to nothing", None, **refused)
    (made.folder / _CAT / "itself.png").symlink_to("itself.png")
    made.add(f"{_CAT}/itself.png", "a link to itself", None, **refused)
    (made.folder / _CAT / "endless.png").symlink_to("/dev/zero")
    made.add(f"{_CAT}/endless.png", "a link to a device", None, **refused)
    os.mkfifo(made.folder / _CAT / "pipe.jpg")
    made.add(f"{_CAT}/pipe.jpg", "a named pipe", None, **refused)
    os.mknod(made.folder / _CAT / "socket.png", stat.S_IFSOCK | 0o600)
    made.add(f"{_CAT}/socket.png", "a socket", None, **refused)
    (made.folder / _CAT / "circle").symlink_to("..")
    made.add(f"{_CAT}/circle", "a folder in a circle", None, outcome="ignored", why="folder in a circle of links")
    (made.folder / _CAT / "empty.png").mkdir()
    made.add(f"{_CAT}/empty.png", "an empty folder", None, outcome="nothing")


def _small(made: Hostile, seeds: Iterator[int]) -> None:
    for height, width in ((1, 1), (1, 5000), (3, 40)):
        content = _file(np.full((height, width, 3), 99, np.uint8), "PNG")
        made.add(f"{_CAT}/{height}x{width}.png", "too small", content, outcome="rejected", why="too small")
    content = _file(texture(next(seeds), _TINTS[0])[:4, :4], "PNG")
    made.add(f"{_CAT}/4x4.png", "just large enough", content)


# --- files that are no usable image -----------------------------------------------------------------------------------


def _cut(made: Hostile, seeds: Iterator[int]) -> None:
    for name, file_format, keys in (
        ("cut.jpg", "JPEG", {}),
        ("cut progressive.jpg", "JPEG", {"progressive": True}),
        ("cut.png", "PNG", {}),
        ("cut.gif", "GIF", {}),
        ("cut.bmp", "BMP", {}),
        ("cut.tif", "TIFF", {}),
        ("cut.webp", "WEBP", {"lossless": True}),
    ):
        content = _file(texture(next(seeds)), file_format, **keys)
        kind = f"{file_format} that ends too soon"
        made.add(f"{_TAG}/{name}", kind, content[: len(content) * 6 // 10], outcome="rejected", why=_TRUNCATED)
    refused: dict[str, Any] = {"outcome": "rejected", "why": "empty"}
    made.add(f"{_TAG}/empty.jpg", "an empty file", b"", **refused)
    made.add(f"{_TAG}/zeros.png", "zeros", bytes(5000), **refused)


def _foreign(made: Hostile, _: Iterator[int]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("image.png"), b"image")
    files = {
        "page.jpg": b"<!DOCTYPE html>\n<html><script>alert(1)</script>404 Not Found</html>",
        "page with mark.png": b"\xef\xbb\xbf  \n<html><body>Sign in</body></html>",
        "text.png": b"This is no image.\n",
        "paper.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "archive.png": packed.getvalue(),
        "packed.png": gzip.compress(b"image", mtime=0),
        "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>',
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "object.png": pickle.dumps({"image": [1, 2, 3]}),
        "sound.webp": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(range(64)),
        "phone.jpg": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(range(99)),
        "random.jpg": np.random.default_rng(5).bytes(3000),
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
        "drawing.SVG": b"<svg/>",
        "camera.dng": b"II*\0",
        "scan.dcm": bytes(128) + b"DICM",
    }
    for name, content in files.items():
        why = "HTML" if name.startswith("page") else _WRONG
        made.add(f"{_LATIN}/{name}", f"{name}, which is no image", content, outcome="rejected", why=why)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _malformed(made: Hostile, seeds: Iterator[int]) -> None:
    signature = b"\x89PNG\r\n\x1a\n"
    good = _file(texture(next(seeds)), "PNG")
    huge = signature + _chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    bomb = huge + _chunk(b"IDAT", zlib.compress(bytes(9999))) + _chunk(b"IEND", b"")
    words = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 * 2**20), 9))
    wide = _file(texture(next(seeds)), "BMP")
    flipped = bytearray(good)
    flipped[good.index(b"IDAT") + 40] ^= 0xFF
    header = bytearray(good)
    header[29] ^= 0xFF  # checksum of IHDR
    files: dict[str, tuple[bytes, str, str]] = {
        "bomb.png": (bomb, "PNG that would take 30 GB", "too large"),
        "slightly too large.png": (_file(np.zeros((401, 500), np.uint8), "PNG"), "above max_pixels", "too large"),
        "text bomb.png": (good[:33] + words + good[33:], "PNG with a text of 100 MB", _BROKEN),
        "flipped.png": (bytes(flipped), "PNG with a flipped byte", _BROKEN),
        "checksum.png": (bytes(header), "PNG with a wrong checksum", _BROKEN),
        "signature.png": (signature, "PNG without anything", _BROKEN),
        "no pixels.png": (good[:33] + _chunk(b"IEND", b""), "PNG without pixels", _BROKEN),
        "0x0.png": (
            signature + _chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)) + _chunk(b"IEND", b""),
            *("PNG without a size", _BROKEN),
        ),
        "huge.bmp": (wide[:18] + struct.pack("<ii", 2**30, 2**30) + wide[26:], "BMP of impossible size", "too large"),
        "depth.bmp": (wide[:28] + struct.pack("<H", 77) + wide[30:], "BMP of impossible depth", _BROKEN),
        "start.jpg": (b"\xff\xd8\xff\xe0", "start of a JPEG", _BROKEN),
        "tags.tif": (b"II*\0\x08\0\0\0\xff\xff" + b"\xee" * 200, "TIFF of nonsense", _BROKEN),
    }
    for name, (content, kind, why) in files.items():
        made.add(f"{_TAG}/{name}", kind, content, outcome="rejected", why=why)
    # Sparse: it takes no room on the disk.
    with (made.folder / _TAG / "endless.tif").open("wb") as file:
        file.write(b"II*\0")
        file.truncate(16 * MAX_PIXELS + 2 * 2**20)
    made.add(f"{_TAG}/endless.tif", "a file of too many bytes", None, outcome="rejected", why="too large")


# --- what is no image and no loss -------------------------------------------------------------------------------------


def _ignored(made: Hostile, seeds: Iterator[int]) -> None:
    image = _file(texture(next(seeds)), "PNG")
    for path, content, why in (
        (".DS_Store", b"\0\0\0\1Bud1", "hidden"),
        (f"{_CAT}/.hidden.png", image, "hidden"),
        (f"{_CAT}/._cat.png", b"\0\x05\x16\x07", "hidden"),
        (f"{_CAT}/..png", image, "hidden"),
        (f"{_CAT}/Thumbs.db", b"\xd0\xcf\x11\xe0", "left by a file manager"),
        (f"{_CAT}/desktop.ini", b"[.ShellClassInfo]", "left by a file manager"),
        (f"{_CAT}/notes.txt", b"notes", ".txt"),
        (f"{_SHELL}/labels.csv", b"a,b", ".csv"),
        (f"{_SHELL}/film.mp4", b"\0\0\0\x18ftypmp42", ".mp4"),
        (f"{_SHELL}/README", b"read me", "without a suffix"),
        ("loose.png", image, "image outside of a class folder"),
    ):
        made.add(path, f"{path}, which is passed over", content, outcome="ignored", why=why)
    # One word for a folder with all that is in it.
    for name, why in ((".ipynb_checkpoints", "hidden"), ("__MACOSX", "left by a file manager"), (".git", "hidden")):
        for folder in (name, f"{_LATIN}/{name}"):
            (made.folder / folder).mkdir()
            (made.folder / folder / "copy.png").write_bytes(image)
            made.add(folder, "a folder that is passed over", None, outcome="ignored", why=why)


# --- the same again ---------------------------------------------------------------------------------------------------


def _duplicates(made: Hostile, seeds: Iterator[int]) -> None:
    twin = texture(next(seeds), _TINTS[0])
    names = {f"{_CAT}/twin.png": "PNG", f"{_CAT}/twin.bmp": "BMP", f"{_CAT}/twin.tif": "TIFF"}
    for path, file_format in names.items():
        made.add(path, "the same pixels in another format", _file(twin, file_format), pixels=twin)
    made.exact.append(set(names))
    original = texture(next(seeds), _TINTS[2])
    image = Image.fromarray(original)
    likes = {
        "original.png": _file(original, "PNG"),
        "recompressed.jpg": _file(original, "JPEG", quality=60),
        "larger.png": _file(image.resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.LANCZOS), "PNG"),
        "smaller.png": _file(image.resize((WIDTH * 3 // 4, HEIGHT * 3 // 4), Image.Resampling.LANCZOS), "PNG"),
        "brighter.png": _file(np.clip(original.astype(int) + 12, 0, 255).astype(np.uint8), "PNG"),
    }
    for name, content in likes.items():
        made.add(f"{_TAG}/{name}", f"looks like others: {name}", content)
    made.near.append({f"{_TAG}/{name}" for name in likes})
    both = texture(next(seeds), _TINTS[3])
    pair = {f"{_CAT}/conflict.png", f"{_LATIN}/conflict.bmp"}
    for path in sorted(pair):
        made.add(path, "the same pixels under two labels", _file(both, path[-3:].upper()), outcome="conflict")
    made.exact.append(pair)
