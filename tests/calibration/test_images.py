"""Decoding: every mode against Pillow's plain conversion or arithmetic written out; damage; large JPEGs."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from calibration.images import UnusableSampleError, decode, probe, upright
from tests.calibration.images import encoded, picture, pixels

ORIENTATION = 0x0112


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(decode(data).image)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_every_pixel(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(picture(20, 31), format, **options)
    np.testing.assert_array_equal(decoded(data), pixels(20, 31))
    assert decode(data).notes == ()


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_other_modes_become_what_pillow_makes_of_them(mode: str) -> None:
    image = picture(20, 31).convert(mode)
    result = decode(encoded(image, "TIFF" if mode == "CMYK" else "PNG"))
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(image.convert("RGB")))
    assert len(result.notes) == 1


def test_alpha_is_dropped_and_a_transparent_palette_keeps_its_colours() -> None:
    rgba = np.dstack([pixels(9, 9), np.full((9, 9), 7, np.uint8)])
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(rgba), "PNG")), pixels(9, 9))
    palette = picture(9, 9).quantize(16)
    data = encoded(palette, "PNG", transparency=bytes([0, 128] + [255] * 14))
    np.testing.assert_array_equal(decoded(data), np.asarray(palette.convert("RGB")))


def test_cmyk_jpeg_is_close_to_its_colours() -> None:
    flat = Image.new("RGB", (32, 32), (200, 120, 40))
    result = decode(encoded(flat.convert("CMYK"), "JPEG", quality=95))
    assert result.notes == ("CMYK",)
    assert np.abs(np.asarray(result.image).astype(int) - (200, 120, 40)).max() <= 4


def test_sixteen_bit_grayscale_keeps_the_high_byte() -> None:
    values = np.array([[0, 255, 256, 300], [32768, 65279, 65280, 65535]], np.uint16)
    for format in ("PNG", "TIFF"):
        result = decode(encoded(Image.fromarray(values), format))
        np.testing.assert_array_equal(np.asarray(result.image), np.repeat((values >> 8)[..., None], 3, -1))
        assert result.notes == ("16-bit",)


def test_sixteen_bit_colour_keeps_the_high_byte() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 4, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 5, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    np.testing.assert_array_equal(decoded(b"\x89PNG\r\n\x1a\n" + body), values >> 8)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "floating-point"),
        (Image.fromarray(np.full((8, 8), 70_000, np.int32)), "32-bit"),
    ],
)
def test_pixels_whose_white_is_unknown_are_left_out(image: Image.Image, reason: str) -> None:
    with pytest.raises(UnusableSampleError, match=reason):
        decode(encoded(image, "TIFF"))


def test_an_image_from_python_of_a_mode_without_conversion_is_left_out() -> None:
    with pytest.raises(UnusableSampleError, match="La"):
        upright(Image.new("La", (8, 8)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    """Blocks of four colours in the corners end where the EXIF standard says that row 0 and column 0 are."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    upright = corners.repeat(16, 0).repeat(24, 1)
    # EXIF 2.3: which side of the upright picture the file's row 0 and column 0 are.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    result = decode(encoded(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options))
    assert result.size == (48, 32)
    assert np.abs(np.asarray(result.image).astype(int) - upright).max() <= 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_no_reason_to_lose_the_image() -> None:
    data = encoded(picture(16, 16), "JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 20)
    assert decode(data).size == (16, 16)


def test_of_an_animation_the_first_picture_counts() -> None:
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP", "TIFF", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        result = decode(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options))
        assert "animated" in result.notes
        assert np.all(np.asarray(result.image) == (255, 0, 0))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_cut_off_and_scrambled_files_are_left_out_or_decoded_but_never_crash(format: str) -> None:
    whole = encoded(picture(64, 64), format)
    for end in (0, 1, 10, len(whole) // 3, len(whole) * 2 // 3):
        with pytest.raises(UnusableSampleError):
            decode(whole[:end])
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        broken = bytearray(whole)
        for at in rng.integers(0, len(broken), 8):
            broken[at] = rng.integers(256)
        try:
            outcomes.add(decode(bytes(broken)).image.mode)
        except UnusableSampleError as error:
            assert str(error)
    assert outcomes <= {"RGB"}


def test_reasons_are_told_apart() -> None:
    with pytest.raises(UnusableSampleError, match="empty"):
        probe(b"")
    with pytest.raises(UnusableSampleError, match="not an image"):
        probe(b"<html>404 not found</html>" * 100)
    with pytest.raises(UnusableSampleError, match="damaged"):
        decode(encoded(picture(64, 64), "JPEG")[:-300])
    with pytest.raises(UnusableSampleError, match="100 times as long"):
        probe(encoded(picture(2, 201), "PNG"))


def test_gigantic_images_are_left_out_before_their_pixels_are_decoded() -> None:
    def header_only(width: int, height: int) -> bytes:
        body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT"
        )

    with pytest.raises(UnusableSampleError, match="million pixels"):
        decode(header_only(8000, 8000))
    with pytest.raises(UnusableSampleError, match="million pixels"):
        probe(header_only(60_000, 60_000))


def test_a_large_jpeg_is_decoded_smaller_and_stays_within_tolerance_after_resizing() -> None:
    """The tolerance in the module's text, on a noisy picture, which is harder than a photograph."""
    for height, width in ((1203, 1601), (1601, 1203)):
        data = encoded(picture(height, width), "JPEG", quality=92)
        small, full = decode(data, needed=64), decode(data)
        assert small.image.width < width / 4
        assert full.image.size == small.size == (width, height)
        both = [
            np.asarray(p.image.resize((96, 96), Image.Resampling.BILINEAR, box=p.box)).astype(int)
            for p in (small, full)
        ]
        difference = np.abs(both[0] - both[1])
        assert difference.mean() < 0.5
        assert difference.max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_of_a_rotated_large_jpeg_turns_with_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(picture(1201, 905), "JPEG", quality=92, exif=exif)
    small, full = decode(data, needed=56), decode(data)
    assert small.image.size != full.image.size
    both = [
        np.asarray(p.image.resize((56, 56), Image.Resampling.BILINEAR, box=p.box)).astype(int) for p in (small, full)
    ]
    assert np.abs(both[0] - both[1]).mean() < 0.5
    assert np.abs(both[0] - both[1]).max() <= 3


def test_a_jpeg_of_usual_size_is_decoded_in_full() -> None:
    data = encoded(picture(375, 500), "JPEG")
    np.testing.assert_array_equal(np.asarray(decode(data, needed=256).image), decoded(data))
