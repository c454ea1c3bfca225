"""Names of methods, and how the best of them is chosen."""

from __future__ import annotations

import pytest

from calibration.methods import ALL, methods_of
from trtkit.errors import UsageError


@pytest.mark.parametrize(
    ("text", "methods"),
    [
        ("entropy", ("entropy",)),
        ("all", ALL),
        ("percentile", ("percentile:99.99",)),
        ("percentile:99.9", ("percentile:99.9",)),
        ("percentile:100", ("percentile:100",)),
        ("minmax, mse,minmax", ("minmax", "mse")),
        ("search,percentile:99", ("search", "percentile:99")),
    ],
)
def test_methods_are_read_in_order_and_once(text: str, methods: tuple[str, ...]) -> None:
    assert methods_of(text) == methods


def test_all_is_every_method_once() -> None:
    assert {name.partition(":")[0] for name in ALL} == {"minmax", "percentile", "entropy", "mse", "search"}
    assert len(ALL) == 5


@pytest.mark.parametrize(
    "text", ["percentile:50", "percentile:100.1", "percentile:x", "percentile:nan", "percentile:-1"]
)
def test_percentiles_outside_their_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="above 50 and up to 100"):
        methods_of(text)


@pytest.mark.parametrize("text", ["", "kl", "minmax,", "Entropy", "minmax:3"])
def test_unknown_methods_are_refused_and_the_known_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"minmax, percentile\[:99\.99\], entropy, mse, search, all"):
        methods_of(text)
