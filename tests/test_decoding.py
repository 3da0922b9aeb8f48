"""What becomes of which kind of image."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from imagewright.data.decoding import Decoded, Form, decode, looks_like
from imagewright.data.sources import Refused

Images = npt.NDArray[np.uint8]


def drawn(*shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photo(height: int, width: int, seed: int = 0) -> Images:
    """Colour noise with the spectrum of photos: amplitudes that fall with the frequency (D. J. Field, 1987)."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width))
    layers = [
        np.fft.irfft2(amplitude * np.exp(2j * np.pi * random.random(amplitude.shape)), s=(height, width))
        for _ in range(3)
    ]
    grey, *tints = ((layer - layer.mean()) / layer.std() for layer in layers)
    colour = np.stack([grey, 0.8 * grey + 0.3 * tints[0], 0.7 * grey + 0.4 * tints[1]], axis=-1)
    return np.clip(128 + 55 * colour, 0, 255).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def used(raw: Any, form: Form) -> Decoded:
    decoded = decode(raw, form)
    assert isinstance(decoded, Decoded), decoded
    return decoded


def refused(raw: Any, form: Form | None = None) -> Refused:
    decoded = decode(raw, form or Form(8, 8, 3))
    assert isinstance(decoded, Refused), decoded
    return decoded


def same_size(image: Image.Image | Images, channels: int = 3, **more: Any) -> Form:
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else image.size[::-1]
    return Form(height, width, channels, **more)


# --- formats and modes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_lossless_format_gives_its_pixels(kind: str, channels: int) -> None:
    pixels = drawn(12, 17, 3)
    content = encoded(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {}))
    decoded = used(content, same_size(pixels, channels))
    expected = pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert (decoded.height, decoded.width, decoded.format, decoded.mode) == (12, 17, kind, "RGB")
    assert not decoded.grey
    assert decoded.note == ""


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}, {"optimize": True}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_gives_the_pixels_that_pillow_gives(mode: str, options: dict[str, Any]) -> None:
    content = encoded(Image.fromarray(photo(48, 40)).convert(mode), "JPEG", **options)
    decoded = used(content, Form(48, 40, 3))
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert (decoded.format, decoded.mode, decoded.grey) == ("JPEG", mode, mode == "L")


def test_the_same_image_comes_from_a_path_and_from_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a name.png"
    path.write_bytes(encoded(Image.fromarray(drawn(9, 9, 3)), "PNG"))
    np.testing.assert_array_equal(used(str(path), Form(9, 9, 3)).pixels, used(path.read_bytes(), Form(9, 9, 3)).pixels)


def test_one_bit_becomes_black_and_white() -> None:
    bits = drawn(10, 10) > 127
    decoded = used(encoded(Image.fromarray(bits), "PNG"), Form(10, 10, 1))
    np.testing.assert_array_equal(decoded.pixels[..., 0], bits * 255)
    assert (decoded.mode, decoded.grey) == ("1", True)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_lies_over_the_background(kind: str, background: tuple[int, int, int]) -> None:
    pixels = drawn(10, 11, 4)
    content = encoded(Image.fromarray(pixels), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    decoded = used(content, Form(10, 11, 3, background=background))
    alpha = pixels[..., 3:] / 255
    expected = pixels[..., :3] * alpha + np.array(background) * (1 - alpha)
    np.testing.assert_allclose(decoded.pixels, expected, atol=1)
    assert decoded.mode == "RGBA"


def test_grey_with_alpha_stays_grey_over_a_grey_background() -> None:
    pixels = drawn(10, 11, 2)
    content = encoded(Image.fromarray(pixels), "PNG")
    decoded = used(content, Form(10, 11, 1))
    alpha = pixels[..., 1] / 255
    np.testing.assert_allclose(decoded.pixels[..., 0], pixels[..., 0] * alpha + 255 * (1 - alpha), atol=1)
    assert decoded.grey
    assert not used(content, Form(10, 11, 3, background=(255, 0, 0))).grey


def test_a_palette_becomes_its_colours_and_its_transparent_colour_the_background() -> None:
    image = Image.fromarray(drawn(10, 10) % 4)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    for kind in ("PNG", "GIF", "BMP"):
        decoded = used(encoded(image, kind), Form(10, 10, 3))
        np.testing.assert_array_equal(decoded.pixels, table[np.asarray(image)])
        assert not decoded.grey
    decoded = used(encoded(image, "PNG", transparency=1), Form(10, 10, 3, background=(9, 8, 7)))
    table[1] = 9, 8, 7
    np.testing.assert_array_equal(decoded.pixels, table[np.asarray(image)])


def test_a_palette_of_greys_has_no_colour() -> None:
    image = Image.fromarray(drawn(10, 10) % 4)
    image.putpalette([0, 0, 0, 90, 90, 90, 180, 180, 180, 255, 255, 255])
    assert used(encoded(image, "PNG"), Form(10, 10, 3)).grey


def test_cmyk_becomes_rgb() -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:8, :, 0] = 255  # cyan above, paper below
    decoded = used(encoded(Image.fromarray(ink, "CMYK"), "JPEG", quality=100), Form(16, 16, 3))
    np.testing.assert_allclose(decoded.pixels[:6], np.broadcast_to([0, 255, 255], (6, 16, 3)), atol=6)
    np.testing.assert_allclose(decoded.pixels[10:], 255, atol=6)
    assert decoded.mode == "CMYK"


def test_cie_lab_becomes_rgb() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)  # without colour: a* and b* are 0
    pixels[:4, :, 0], pixels[4:, :, 0] = 255, 128  # white above, middle grey below
    decoded = used(encoded(Image.fromarray(pixels, "LAB"), "TIFF"), Form(8, 8, 3))
    np.testing.assert_allclose(decoded.pixels[:4], 255, atol=2)
    assert abs(int(decoded.pixels[6].mean()) - 119) < 6  # L* 50 is 119 in sRGB


# --- ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_type(kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (12, 12), dtype=np.uint16)
    values[0, :2] = 0, 65535
    decoded = used(encoded(Image.fromarray(values), kind), Form(12, 12, 1))
    np.testing.assert_array_equal(decoded.pixels[..., 0], np.rint(values / 257))
    assert decoded.grey
    assert decoded.mode.startswith("I")


def test_sixteen_bits_are_scaled_by_the_image_if_asked() -> None:
    values = np.random.default_rng(0).integers(1000, 4096, (12, 12), dtype=np.uint16)
    decoded = used(encoded(Image.fromarray(values), "PNG"), Form(12, 12, 1, value_range="image"))
    low, high = int(values.min()), int(values.max())
    np.testing.assert_array_equal(decoded.pixels[..., 0], np.rint((values - low) / (high - low) * 255))
    assert (decoded.pixels.min(), decoded.pixels.max()) == (0, 255)


@pytest.mark.parametrize(
    ("low", "high", "bottom", "top"),
    [(0, 1, 0, 1), (0.2, 0.7, 0, 1), (0, 255, 0, 255), (3, 200, 0, 255), (-1, 1, -1, 1), (0, 1000, 0, 1000)],
)
def test_float_is_scaled_by_the_range_that_holds_it(low: float, high: float, bottom: float, top: float) -> None:
    values = np.linspace(low, high, 144, dtype=np.float32).reshape(12, 12)
    decoded = used(encoded(Image.fromarray(values), "TIFF"), Form(12, 12, 1))
    expected = (values.astype(np.float64) - bottom) / (top - bottom) * 255
    np.testing.assert_allclose(decoded.pixels[..., 0], expected, atol=0.51)
    assert ("own range" in decoded.note) == (bottom < 0 or top > 255)


def test_whole_numbers_of_32_bits_are_scaled_like_16_bits_or_by_their_own_range() -> None:
    values = np.linspace(0, 60000, 144, dtype=np.int32).reshape(12, 12)
    decoded = used(encoded(Image.fromarray(values), "TIFF"), Form(12, 12, 1))
    np.testing.assert_array_equal(decoded.pixels[..., 0], np.rint(values / 257))
    decoded = used(encoded(Image.fromarray(values * 10 - 5), "TIFF"), Form(12, 12, 1))
    assert (decoded.pixels.min(), decoded.pixels.max()) == (0, 255)
    assert "own range" in decoded.note


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    values = np.ones((12, 12), np.float32)
    values[3, 3] = value
    assert refused(encoded(Image.fromarray(values), "TIFF")).reason == "broken"


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda grey: grey, lambda grey: grey),
        (lambda grey: grey[..., None], lambda grey: grey),
        (lambda grey: grey > 127, lambda grey: (grey > 127) * 255),
        (lambda grey: grey / 255, lambda grey: grey),
        (lambda grey: grey.astype(np.int64), lambda grey: grey),
        (lambda grey: grey.astype(np.uint16) * 257, lambda grey: grey),
        (lambda grey: grey.astype(np.float16) / 255, lambda grey: grey),
    ],
)
def test_an_array_of_any_number_type_is_a_grey_image(
    make: Callable[[Images], npt.NDArray[Any]], expected: Callable[[Images], npt.NDArray[Any]]
) -> None:
    grey = drawn(9, 8)
    grey[0, :2] = 0, 255
    decoded = used(make(grey), Form(9, 8, 1))
    np.testing.assert_allclose(decoded.pixels[..., 0], expected(grey), atol=0.51)
    assert (decoded.format, decoded.grey) == ("array", True)


def test_an_array_of_three_or_four_channels_is_in_colour() -> None:
    colour = drawn(9, 8, 4)
    np.testing.assert_array_equal(used(colour[..., :3], Form(9, 8, 3)).pixels, colour[..., :3])
    colour[..., 3] = 255
    np.testing.assert_array_equal(used(colour, Form(9, 8, 3)).pixels, colour[..., :3])


@pytest.mark.parametrize("shape", [(9,), (9, 8, 5), (2, 9, 8, 3)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    assert refused(drawn(*shape)).reason == "wrong format"


@pytest.mark.parametrize("dtype", ["U4", "datetime64[s]", "complex64"])
def test_an_array_of_no_numbers_is_refused(dtype: str) -> None:
    assert refused(np.zeros((8, 8), dtype)).reason == "wrong format"


# --- orientation and frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied(orientation: int, kind: str, fit: str) -> None:
    image = Image.fromarray(photo(400, 300))
    tags = Image.Exif()
    tags[0x0112] = orientation
    content = encoded(image, kind, exif=tags, **({"lossless": True} if kind == "WEBP" else {}))
    decoded = used(content, Form(40, 50, 3, fit=fit))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    plain = used(encoded(turned.convert("RGB"), "PNG"), Form(40, 50, 3, fit=fit))
    assert np.abs(decoded.pixels.astype(int) - plain.pixels).mean() < 1.5
    assert (decoded.height, decoded.width) == ((300, 400) if orientation >= 5 else (400, 300))
    if kind != "TIFF":
        assert (f"orientation ({orientation})" in decoded.note) == (orientation > 1)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken_with_a_note(kind: str) -> None:
    frames = [Image.fromarray(np.full((10, 10, 3), shade, np.uint8)) for shade in (40, 120, 200)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    decoded = used(content, Form(10, 10, 3))
    np.testing.assert_allclose(decoded.pixels, 40, atol=2)
    assert "first" in decoded.note
    assert used(encoded(frames[0], kind), Form(10, 10, 3)).note == ""


def test_tags_that_cannot_be_read_are_noted() -> None:
    content = encoded(Image.fromarray(photo(40, 40)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff")
    decoded = used(content, Form(20, 20, 3))
    assert decoded.pixels.std() > 5


# --- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60), (64, 64)])
@pytest.mark.parametrize(("wanted_height", "wanted_width"), [(32, 32), (24, 48), (100, 100)])
def test_crop_keeps_the_middle(height: int, width: int, wanted_height: int, wanted_width: int) -> None:
    image = Image.fromarray(photo(height, width))
    decoded = used(np.asarray(image), Form(wanted_height, wanted_width, 3, fit="crop"))
    expected = ImageOps.fit(image, (wanted_width, wanted_height), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(decoded.pixels.astype(int), np.asarray(expected).astype(int), atol=2)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (64, 64)])
def test_pad_keeps_everything_before_the_background(height: int, width: int) -> None:
    image = Image.fromarray(photo(height, width))
    decoded = used(np.asarray(image), Form(32, 32, 3, fit="pad", background=(1, 2, 3)))
    expected = ImageOps.pad(image, (32, 32), Image.Resampling.BICUBIC, color=(1, 2, 3))
    np.testing.assert_allclose(decoded.pixels.astype(int), np.asarray(expected).astype(int), atol=2)
    if height != width:
        assert (decoded.pixels == [1, 2, 3]).all(axis=2).any()


def test_a_grey_image_padded_with_a_colour_has_that_colour() -> None:
    decoded = used(drawn(10, 20), Form(20, 20, 3, fit="pad", background=(200, 10, 10)))
    np.testing.assert_array_equal(decoded.pixels[0], np.broadcast_to([200, 10, 10], (20, 3)))


def test_stretch_fills_the_form() -> None:
    image = Image.fromarray(photo(60, 90))
    decoded = used(np.asarray(image), Form(32, 20, 3, fit="stretch"))
    expected = np.asarray(image.resize((20, 32), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(decoded.pixels.astype(int), expected.astype(int), atol=2)


def test_making_smaller_does_not_alias() -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: it must become an even grey
    decoded = used(stripes, Form(32, 32, 1))
    np.testing.assert_allclose(decoded.pixels[:, 2:-2], 127.5, atol=2)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (1200, 1600), (481, 641)])
@pytest.mark.parametrize("side", [64, 96, 128])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_jpeg_decoded_at_a_smaller_scale_is_that_of_all_its_pixels_within_a_grey_level(
    height: int, width: int, side: int, fit: str
) -> None:
    content = encoded(Image.fromarray(photo(height, width)), "JPEG", quality=90)
    form = Form(side, side, 3, fit=fit)
    decoded = used(content, form)
    whole = used(np.asarray(Image.open(io.BytesIO(content))), form)
    difference = np.abs(decoded.pixels.astype(int) - whole.pixels)
    assert difference.mean() < 1
    assert difference.max() <= 10
    assert (decoded.height, decoded.width) == (height, width)


# --- what is refused --------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    content = bytearray(encoded(Image.fromarray(drawn(4, 4, 3)), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_file_that_was_cut_off_is_truncated(kind: str, share: float) -> None:
    whole = encoded(Image.fromarray(photo(120, 130)), kind)
    assert refused(whole[: int(len(whole) * share)], Form(32, 32, 3)).reason in ("truncated", "broken")
    if kind in ("JPEG", "PNG", "TIFF", "BMP"):
        assert refused(whole[: int(len(whole) * share)], Form(32, 32, 3)).reason == "truncated"


def test_a_jpeg_without_its_last_two_bytes_is_truncated() -> None:
    whole = encoded(Image.fromarray(photo(120, 130)), "JPEG")
    assert refused(whole[:-2], Form(32, 32, 3)).reason == "truncated"


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", "empty", "0 bytes"),
        (bytes(100), "empty", "all of them 0"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML", "web page"),
        (b"\n  <HTML>moved</HTML>", "HTML", "web page"),
        (b"this is no image", "wrong format", "text"),
        (b"%PDF-1.7\n", "wrong format", "PDF"),
        (b"PK\3\4\0\0\0\0", "wrong format", "ZIP"),
        (b"\x1f\x8b\x08\0", "wrong format", "gzip"),
        (b'<?xml version="1.0"?><svg/>', "wrong format", "SVG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "wrong format", "git lfs pull"),
        (b"\x80\x04\x95\0\0\0", "wrong format", "pickle"),
        (b"\0\0\0\x18ftypheic", "wrong format", "HEIC"),
        (b"RIFF\0\0\0\0WAVE", "wrong format", "audio or video"),
        (bytes(range(250, 256)) * 5, "wrong format", "none of JPEG, PNG"),
        (b"\xff\xd8\xff\xe0nothing", "truncated", ""),
    ],
)
def test_what_is_no_image_is_refused_with_what_it_looks_like(content: bytes, reason: str, detail: str) -> None:
    why = refused(content)
    assert why.reason == reason
    assert detail in why.detail


def test_a_huge_image_is_refused_by_its_header_before_it_is_decoded() -> None:
    why = refused(png_header(60_000, 60_000), Form(8, 8, 3, max_pixels=1_000_000))
    assert why.reason == "too large"
    assert "60000x60000" in why.detail
    assert "1,000,000" in why.detail
    jpeg = encoded(Image.fromarray(photo(100, 101)), "JPEG")
    assert refused(jpeg, Form(8, 8, 3, max_pixels=100 * 100)).reason == "too large"
    assert used(jpeg, Form(8, 8, 3, max_pixels=100 * 101)).width == 101


@pytest.mark.parametrize(("height", "width", "good"), [(3, 50, False), (50, 3, False), (4, 50, True)])
def test_a_side_that_is_too_short_is_refused(height: int, width: int, good: bool) -> None:
    decoded = decode(drawn(height, width), Form(8, 8, 1, min_side=4))
    assert isinstance(decoded, Decoded) == good
    if isinstance(decoded, Refused):
        assert decoded.reason == "too small"
        assert f"{width}x{height}" in decoded.detail


def test_a_png_with_a_broken_checksum_is_refused() -> None:
    content = bytearray(encoded(Image.fromarray(drawn(40, 40, 3)), "PNG"))
    content[60] ^= 0xFF
    assert refused(bytes(content)).reason in ("broken", "truncated")


def test_a_path_that_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    assert refused(str(tmp_path / "missing.png")).reason == "not readable"
    assert refused(str(tmp_path)).reason == "not readable"


def test_a_file_far_too_large_for_its_pixels_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.bmp"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: it takes no room
    assert refused(str(path), Form(8, 8, 3, max_pixels=1000)).reason == "too large"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_format_is_known_by_its_first_bytes(kind: str) -> None:
    assert looks_like(encoded(Image.fromarray(drawn(4, 4, 3)), kind)[:16]) == kind
