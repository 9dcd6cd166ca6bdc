from __future__ import annotations

from decimal import Decimal

import pytest

from orchestify.ledger.memory import Total
from orchestify.report.formatting import (
    display_name,
    known_cost,
    share,
    write_cost,
    write_count,
    write_share,
    write_usd,
)


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0", "$0.00"),
        ("0E-12", "$0.00"),
        ("1234567.891", "$1,234,567.89"),
        ("1", "$1.00"),
        ("0.5", "$0.50"),
        ("0.1", "$0.10"),
        ("0.9996", "$1.00"),
        ("0.09999", "$0.10"),
        ("0.0345678", "$0.0346"),
        ("0.00002", "$0.00002"),
        ("0.000000000001", "$0.000000000001"),
        ("-0.25", "-$0.25"),
    ],
)
def test_money_has_the_digits_it_needs(amount: str, written: str) -> None:
    assert write_usd(Decimal(amount)) == written


@pytest.mark.parametrize(
    ("known", "calls", "unpriced", "written"),
    [
        ("1.5", 2, 0, "$1.50"),
        ("1.5", 3, 2, "$1.50+"),
        ("0", 2, 2, "unknown"),
        ("0", 0, 1, "unknown"),  # it was interrupted
        ("0", 3, 2, "$0.00+"),  # one was free
        ("0", 2, 0, "$0.00"),
        ("0", 0, 0, "$0.00"),
    ],
)
def test_cost_says_what_it_leaves_out(known: str, calls: int, unpriced: int, written: str) -> None:
    total = Total(calls=calls, unpriced_calls=unpriced, cost_usd=Decimal(known))
    assert write_cost(known_cost(total), unpriced) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (12_345_678, "12.3M"),
        (4_560_000_000, "4.56G"),
        (7_000_000_000_000, "7.00T"),
    ],
)
def test_count_fits_six_characters(number: int, written: str) -> None:
    assert write_count(number) == written


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (None, "-"),
        ("0", "0%"),
        ("0.000001", "<0.1%"),
        ("0.125", "12.5%"),
        ("0.5", "50%"),
        ("0.99951", ">99.9%"),
        ("1", "100%"),
    ],
)
def test_only_nothing_is_0_per_cent_and_only_all_is_100(part: str | None, written: str) -> None:
    assert write_share(None if part is None else Decimal(part)) == written


def test_nothing_has_no_share() -> None:
    assert share(Decimal(0), Decimal(0)) is None


def test_name_holds_nothing_that_a_terminal_obeys() -> None:
    assert display_name("\x1b[31mred\x1b[0m") == "?[31mred?[0m"


def test_calls_without_an_agent_have_a_name() -> None:
    assert display_name("") == "(none)"
