"""From an image in any form to uint8 pixels of one form. The one place that says what becomes of which kind of image.

| image | what becomes of it |
|---|---|
| 1-bit | black 0, white 255 |
| grey, 8 bits | as it is |
| colour (RGB, YCbCr, HSV, CIE Lab, CMYK) and palettes | RGB; embedded colour profiles are not applied |
| alpha, or a transparent colour | laid over ``background`` |
| 16 bits and more, and float | scaled by the range that ``value_range`` names, never clipped |
| EXIF or TIFF orientation | applied, with a note |
| animation or several pages | the first frame, with a note |
| another shape | by ``fit``, antialiased (bicubic), with ``background`` beside a padded image |

Every file is decoded as a whole, so that a truncated one is noticed. Pillow decodes; before it, simplejpeg
(libjpeg-turbo alone, five times as fast for small images) has a try at JPEGs, and leaves to Pillow what it finds the
least fault with.
"""

from __future__ import annotations

import codecs
import io
import math
import os
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageCms, UnidentifiedImageError

from imagewright.data.sources import Raw, Refused

__all__ = ["SUPPORTED", "Decoded", "Form", "decode", "looks_like"]

# Pillow's name of a format -> how its files begin.
SUPPORTED: dict[str, tuple[bytes, ...]] = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "WEBP": (b"RIFF",),
}
_FOREIGN: dict[str, tuple[bytes, ...]] = {
    "HTML": (b"<!doctype html", b"<html", b"<head", b"<body"),
    "SVG": (b"<svg", b"<?xml"),
    "PDF": (b"%pdf",),
    "ZIP": (b"pk\3\4",),
    "gzip": (b"\x1f\x8b",),
    "Photoshop": (b"8bps",),
    "JPEG 2000": (b"\0\0\0\x0cjp  ",),
    "pickle": (b"\x80\3", b"\x80\4", b"\x80\5"),
    "a Git LFS pointer, fetch it with `git lfs pull`": (b"version https://git-lfs",),
}
_HEAD = 512  # bytes that tell what a file is
# A JPEG is decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size that is still so many times as large as needed.
_REDUCING_GAP = 2.0
# Pillow's own steps towards a much smaller image; from 3 on, its documentation finds no difference.
_RESIZING_GAP = 3.0
_FILTER = Image.Resampling.BICUBIC
_MEGABYTE = 2**20
_ORIENTATION = 0x0112
_UPRIGHT = 1
# Orientation -> what puts it right; from 5 on, height and width are exchanged.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = 5
_EXIF_AT = 65536  # bytes from the start in which a JPEG has its tags


@dataclass(frozen=True)
class Form:
    """The form that all images are brought to, and what is still an image.

    Attributes:
        height: H, in pixels.
        width: W, in pixels.
        channels: C, 1 or 3.
        fit: crop, pad or stretch.
        background: red, green and blue, 0 to 255.
        value_range: type (the range of the number type) or image (from the image's least to its greatest value).
        max_pixels: of an original; more are refused before they are decoded.
        min_side: of an original, in pixels.
    """

    height: int
    width: int
    channels: int
    fit: str = "crop"
    background: tuple[int, int, int] = (255, 255, 255)
    value_range: str = "type"
    max_pixels: int = 100_000_000
    min_side: int = 1

    @classmethod
    def of(cls, input_shape: Sequence[int], preprocessing: Mapping[str, Any]) -> Form:
        """The form that a model takes.

        Args:
            input_shape: (C, H, W).
            preprocessing: the other attributes by name, as a saved model has them.
        """
        channels, height, width = input_shape
        return cls(height, width, channels, **{**preprocessing, "background": tuple(preprocessing["background"])})


@dataclass(frozen=True)
class Decoded:
    """An image in its final form.

    Attributes:
        pixels: uint8, (H, W, C).
        height: of the original as it is looked at (after its orientation is applied), in pixels.
        width: likewise.
        format: Pillow's name of the file format, or array.
        mode: Pillow's name of the original's pixel format.
        grey: the original has no colour.
        note: what was noticed and mended, or empty.
    """

    pixels: npt.NDArray[np.uint8]
    height: int
    width: int
    format: str
    mode: str
    grey: bool
    note: str


class _UnusableError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.refused = Refused(reason, detail)


def decode(raw: Raw, form: Form) -> Decoded | Refused:
    """Bring one image to ``form``, or say why it cannot be used.

    Args:
        raw: path of a file, content of a file, or an array (H, W) or (H, W, C) with C 1 (grey), 2 (grey and alpha), 3
            (RGB) or 4 (RGB and alpha).
        form: what it becomes.
    """
    # What Pillow only warns of is no reason to refuse an image, but one to look at it.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if isinstance(raw, np.ndarray):
                decoded = _from_array(raw, form)
            else:
                decoded = _from_file(_content(raw, form) if isinstance(raw, str) else raw, form)
        except _UnusableError as unusable:
            return unusable.refused
    if caught:
        words = "; ".join(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught))
        note = "; ".join(filter(None, (decoded.note, f"Pillow: {words[:200]}")))
        return Decoded(**{**vars(decoded), "note": note})
    return decoded


def looks_like(head: bytes) -> str:
    """The format that a file's first bytes tell, one of SUPPORTED or another name; empty where nothing is known."""
    for name, starts in SUPPORTED.items():
        if head.startswith(starts):
            if name != "WEBP" or head[8:12] == b"WEBP":
                return name
            return "audio or video"
    if head[4:8] == b"ftyp":
        return {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}.get(head[8:12], "video")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for name, starts in _FOREIGN.items():
        if start.startswith(starts):
            return "SVG" if name == "HTML" and b"<svg" in start else name
    return "text" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # which takes a letter that is cut off at the end
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\f" for letter in text.lstrip("\ufeff"))


# --- files ------------------------------------------------------------------------------------------------------------


def _content(path: str, form: Form) -> bytes:
    """All bytes of a regular file that may be an image."""
    try:
        # A named pipe would wait for a writer.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _UnusableError("not readable", error.strerror or str(error)) from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise _UnusableError("not readable", "is no regular file")
        # Room for 4 channels of 32 bits, uncompressed: what is larger has no image of max_pixels in it.
        if status.st_size > 16 * form.max_pixels + _MEGABYTE:
            raise _UnusableError("too large", f"a file of {status.st_size:,} bytes; see data.checks.max_pixels")
        content = os.read(file, status.st_size)
        while len(content) < status.st_size and (more := os.read(file, status.st_size - len(content))):
            content += more
        return content
    except OSError as error:
        raise _UnusableError("not readable", error.strerror or str(error)) from error
    finally:
        os.close(file)


def _from_file(content: bytes, form: Form) -> Decoded:
    if not content.strip(b"\0"):
        raise _UnusableError("empty", f"a file of {len(content)} bytes" + (", all of them 0" if content else ""))
    kind = looks_like(content[:_HEAD])
    if kind not in SUPPORTED:
        if kind == "HTML":
            raise _UnusableError("HTML", "a web page under the name of an image")
        raise _UnusableError("wrong format", f"looks like {kind}" if kind else "is none of " + ", ".join(SUPPORTED))
    decoded = _from_jpeg(content, form) if kind == "JPEG" else None
    if decoded is not None:
        return decoded
    # The limit is our own: Pillow's would only warn up to twice its value.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as image:
            return _from_image(image, form)
    except _UnusableError:
        raise
    # Decoders raise whatever they stumble over: OSError, SyntaxError, ValueError, struct.error, zlib.error and more.
    except Exception as error:
        raise _broken(error, kind, content) from error


def _from_jpeg(content: bytes, form: Form) -> Decoded | None:
    """What simplejpeg makes of a JPEG in grey or YCbCr without a fault; None for all others."""
    notes: list[str] = []
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space not in ("YCbCr", "Gray"):
            return None
        _check_size(height, width, form)
        grey = space == "Gray"
        orientation = _orientation(lambda: _exif_of(content), notes)
        part = _part((width, height), form, orientation)
        pixels = simplejpeg.decode_jpeg(
            content, "GRAY" if grey else "RGB", min_height=-(-height // part), min_width=-(-width // part)
        )
    except ValueError:
        return None
    mode = "L" if grey else "RGB"
    if pixels.shape != (form.height, form.width, form.channels) or orientation != _UPRIGHT:
        image = Image.fromarray(pixels[..., 0] if grey else pixels)
        pixels = _in_form(image, form, (width, height), orientation)
    if orientation >= _SIDEWAYS:
        height, width = width, height
    return Decoded(pixels, height, width, "JPEG", mode, grey, "; ".join(notes))


def _exif_of(content: bytes) -> Image.Exif | None:
    """The tags of a JPEG, which stand in a segment near its start."""
    start = content.find(b"Exif\0\0", 0, _EXIF_AT)
    if start < 0:
        return None
    tags = Image.Exif()
    # The two bytes before have the length of the segment, themselves included.
    tags.load(content[start : start - 2 + int.from_bytes(content[start - 2 : start], "big")])
    return tags


def _broken(error: Exception, kind: str, content: bytes) -> _UnusableError:
    if isinstance(error, UnidentifiedImageError):  # its words name an object in memory
        words = f"begins like {kind}, but its header cannot be read"
    else:
        words = " ".join(str(error).split())[:200] or type(error).__name__
    # WebP does not say what is wrong, but how long it is.
    if kind == "WEBP" and len(content) < 8 + int.from_bytes(content[4:8], "little"):
        return _UnusableError("truncated", f"a file of {len(content)} bytes that should have more; {words}")
    # Pillow's words for a file that ends too soon: of the decoders, of the chunks of PNG, of the bytes of TIFF and GIF.
    signs = ("truncated", "unexpected end", "not enough", "eof", "ran out", "stream has ended", "buffer is not large")
    if isinstance(error, EOFError) or any(sign in words.lower() for sign in signs):
        return _UnusableError("truncated", words)
    return _UnusableError("broken", words)


def _from_image(image: Image.Image, form: Form) -> Decoded:
    file_format, mode = str(image.format), image.mode
    width, height = image.size
    _check_size(height, width, form)
    notes = []
    if file_format in ("GIF", "WEBP", "PNG", "TIFF") and getattr(image, "is_animated", False):
        notes.append("first frame of an animation" if file_format != "TIFF" else "first of several pages")
    upright, orientation = image.size, _UPRIGHT
    if file_format == "TIFF":
        _orientation(image.getexif, notes)
    elif file_format in ("JPEG", "MPO"):
        orientation = _orientation(image.getexif, notes)
        image.draft("", _least(upright, form, orientation))
    image.load()
    if file_format == "TIFF":  # Pillow turns these itself while it loads them
        upright = image.size
    elif file_format not in ("JPEG", "MPO"):
        orientation = _orientation(lambda: image.getexif() if "exif" in image.info else None, notes)
    plain, grey = _plain(image, form, notes)
    pixels = _in_form(plain, form, upright, orientation)
    width, height = upright[::-1] if orientation >= _SIDEWAYS else upright
    return Decoded(pixels, height, width, file_format, mode, grey, "; ".join(notes))


def _check_size(height: int, width: int, form: Form) -> None:
    if width * height > form.max_pixels:
        raise _UnusableError(
            "too large", f"{width}x{height} pixels, more than data.checks.max_pixels {form.max_pixels:,}"
        )
    if min(width, height) < form.min_side:
        raise _UnusableError("too small", f"{width}x{height} pixels, less than data.checks.min_side {form.min_side}")


def _orientation(tags: Callable[[], Image.Exif | None], notes: list[str]) -> int:
    """How the image is to be turned, by the numbers of EXIF; 1 for not at all."""
    try:
        found = tags()
        orientation = _UPRIGHT if found is None else found.get(_ORIENTATION, _UPRIGHT)
    except Exception as error:  # as for the pixels: broken tags raise whatever their reader stumbles over
        notes.append(f"EXIF cannot be read: {type(error).__name__}")
        return _UPRIGHT
    if orientation not in _TURNS:
        return _UPRIGHT
    notes.append(f"turned by its orientation ({orientation})")
    return int(orientation)


# --- pixel formats ----------------------------------------------------------------------------------------------------


def _plain(image: Image.Image, form: Form, notes: list[str]) -> tuple[Image.Image, bool]:
    """The image as L or RGB, and whether it has no colour."""
    mode = image.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_background(image, form)
    match mode:
        case "RGB":
            return image, False
        case "L":
            return image, True
        case "1":
            return image.convert("L"), True
        case "P":
            rgb = image.convert("RGB")
            red, green, blue = rgb.split()
            return rgb, red.tobytes() == green.tobytes() == blue.tobytes()
        case "CMYK" | "YCbCr" | "HSV" | "RGBX":
            return image.convert("RGB"), False
        case "LAB":
            profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
            if converted is None:
                raise _UnusableError("broken", "CIE Lab cannot be converted")
            return converted, False
        case "I" | "F":
            return Image.fromarray(_scaled(np.asarray(image), form, notes, sixteen_bits=True)), True
        case _ if mode.startswith("I;16"):
            return Image.fromarray(_scaled(np.asarray(image).astype(np.uint16), form, notes)), True
    raise _UnusableError("wrong format", f"pixels of the kind {mode} are not supported")


def _over_background(image: Image.Image, form: Form) -> tuple[Image.Image, bool]:
    grey = image.mode in ("L", "LA", "La", "1") and len(set(form.background)) == 1
    layer = image.convert("RGBA")
    below = Image.new("RGBA", layer.size, (*form.background, 255))
    flat = Image.alpha_composite(below, layer)
    return flat.convert("L" if grey else "RGB"), grey


def _from_array(array: npt.NDArray[Any], form: Form) -> Decoded:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    modes = {2: "LA", 3: "RGB", 4: "RGBA"}
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in modes):
        raise _UnusableError("wrong format", f"an array of shape {array.shape}, not (H, W) or (H, W, 1 to 4)")
    height, width = array.shape[:2]
    _check_size(height, width, form)
    notes: list[str] = []
    image = Image.fromarray(np.ascontiguousarray(_scaled(array, form, notes)))
    plain, grey = _plain(image, form, notes)
    pixels = _in_form(plain, form, (width, height))
    return Decoded(pixels, height, width, "array", image.mode, grey, "; ".join(notes))


def _scaled(
    values: npt.NDArray[Any], form: Form, notes: list[str], *, sixteen_bits: bool = False
) -> npt.NDArray[np.uint8]:
    """Numbers of any type as uint8, without clipping.

    Args:
        values: of any shape.
        form: its value_range says which range becomes 0 to 255.
        notes: gets a sentence where the range had to be taken from the image.
        sixteen_bits: whole numbers of an open range count up to 65535, as those in image files do.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(values.dtype, np.integer) and not np.issubdtype(values.dtype, np.floating):
        raise _UnusableError("wrong format", f"an array of {values.dtype}, not of numbers")
    if not np.isfinite(values).all():
        raise _UnusableError("broken", "has values that are no finite numbers")
    low, high = float(values.min()), float(values.max())
    top = _usual_top(values.dtype, low, high, sixteen_bits)
    if top is None or (form.value_range == "image" and high > low):
        if form.value_range != "image":
            notes.append(f"values from {low:g} to {high:g} scaled by their own range")
        bottom, top = low, high
    else:
        bottom = 0.0
    scale = 255 / (top - bottom) if top > bottom else 0.0
    return np.rint((values.astype(np.float64) - bottom) * scale).astype(np.uint8)


def _usual_top(dtype: np.dtype[Any], low: float, high: float, sixteen_bits: bool) -> float | None:
    """The value that means white in numbers of this type from ``low`` to ``high``, if there is one; black is 0."""
    if dtype == np.uint16:
        return 65535
    whole = np.issubdtype(dtype, np.integer)
    usual = ([65535] if sixteen_bits else [255, 65535]) if whole else [1, 255]
    return next((top for top in usual if low >= 0 and high <= top), None)


# --- shape ------------------------------------------------------------------------------------------------------------


def _target(form: Form, orientation: int) -> tuple[int, int]:
    """(width, height) that an image has in its final form, before it is turned."""
    return (form.height, form.width) if orientation >= _SIDEWAYS else (form.width, form.height)


def _least(size: tuple[int, int], form: Form, orientation: int) -> tuple[int, int]:
    """The (width, height) to decode at, at the least, for a result as good as that of all pixels of ``size``."""
    target = _target(form, orientation)
    scales = target[0] / size[0], target[1] / size[1]
    if form.fit != "stretch":
        scales = (max(scales),) * 2 if form.fit == "crop" else (min(scales),) * 2
    return math.ceil(size[0] * scales[0] * _REDUCING_GAP), math.ceil(size[1] * scales[1] * _REDUCING_GAP)


def _part(size: tuple[int, int], form: Form, orientation: int) -> int:
    """The greatest of 1, 2, 4 and 8 by which ``size`` can be divided and still be large enough."""
    if min(size) < 2 * min(form.height, form.width):
        return 1
    least = _least(size, form, orientation)
    fits = min(size[0] // least[0], size[1] // least[1])
    # Other eighths exist, but libjpeg-turbo has no fast code for them: they cost more than the whole image.
    return max(part for part in (1, 2, 4, 8) if part <= max(fits, 1))


def _in_form(
    image: Image.Image, form: Form, size: tuple[int, int], orientation: int = _UPRIGHT
) -> npt.NDArray[np.uint8]:
    """The pixels in the form's size and channels, uint8, (H, W, C).

    Args:
        image: L or RGB; may be decoded at a smaller scale.
        form: what it becomes.
        size: (width, height) of the original.
        orientation: by which it is turned at the end, when there are few pixels left.
    """
    target = _target(form, orientation)
    if image.size != target or size != target:
        image = _resized(image, target, form, size)
    if orientation != _UPRIGHT:
        image = image.transpose(_TURNS[orientation])
    mode = "L" if form.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(form.height, form.width, form.channels)


def _resized(image: Image.Image, target: tuple[int, int], form: Form, size: tuple[int, int]) -> Image.Image:
    # A decoder works at eighths of the size, and rounds up: the last row and column may be less than whole.
    scale = round(8 * image.width / size[0]) / 8 if image.size != size else 1.0
    width, height = min(size[0] * scale, image.width), min(size[1] * scale, image.height)
    if form.fit == "stretch":
        return image.resize(target, _FILTER, (0, 0, width, height), _RESIZING_GAP)
    ratios = target[0] / width, target[1] / height
    if form.fit == "crop":
        inner_width, inner_height = min(target[0] / max(ratios), width), min(target[1] / max(ratios), height)
        left, top = (width - inner_width) / 2, (height - inner_height) / 2
        box = left, top, left + inner_width, top + inner_height
        return image.resize(target, _FILTER, box, _RESIZING_GAP)
    inner = max(1, round(width * min(ratios))), max(1, round(height * min(ratios)))
    background: Any = form.background
    if image.mode == "L" and len(set(background)) > 1:
        image = image.convert("RGB")
    canvas = Image.new(image.mode, target, background if image.mode == "RGB" else background[0])
    fitted = image.resize(inner, _FILTER, (0, 0, width, height), _RESIZING_GAP)
    canvas.paste(fitted, ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2))
    return canvas
