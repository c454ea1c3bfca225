"""Numbers for people, and the sizes that people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtkit.errors import UsageError
from trtkit.units import bytes_text, count_text, parse_bytes, seconds_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (29_079_744, "27.7 MiB"),
        (2**30, "1.0 GiB"),
        (2**40, "1.0 TiB"),
        (5000 * 2**40, "5000.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_text(count: int | None, text: str) -> None:
    assert bytes_text(count) == text


def test_count_text() -> None:
    assert [count_text(n) for n in (0, 999, 1000, 60_965_224)] == ["0", "999", "1,000", "60,965,224"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0.0, "0 ms"),
        (0.0421, "42 ms"),
        (1.0, "1.0 s"),
        (3.21, "3.2 s"),
        (60.0, "1 min 0 s"),
        (93.0, "1 min 33 s"),
        (119.6, "2 min 0 s"),
        (3600.0, "60 min 0 s"),
    ],
)
def test_seconds_text(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1073741824", 2**30),
        ("4G", 4 * 2**30),
        ("512MiB", 512 * 2**20),
        ("512 mb", 512 * 2**20),
        (" 1.5k ", 1536),
        ("2TiB", 2 * 2**40),
        ("10B", 10),
    ],
)
def test_parse_bytes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "lots", "0", "0G", "-1", "-4G", "4X", "1e9", "G", "4 G B", "1,5G", "4GG", "nan"])
def test_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_bytes(text)
    assert repr(text) in caught.value.message
    assert "512MiB" in caught.value.hint


@given(st.integers(1, 2**50))
def test_plain_numbers_come_back(count: int) -> None:
    assert parse_bytes(str(count)) == count


@given(st.integers(0, 2**49))
def test_text_and_back_keeps_the_size(count: int) -> None:
    text = bytes_text(count)
    if count:
        # One decimal of the unit shown: at most 0.05 of at least 1 unit away.
        assert abs(parse_bytes(text) - count) <= 0.051 * count
