"""Numbers, money, shares and names as text for people."""

from __future__ import annotations

from decimal import Decimal

from orchestify.ledger.memory import Total

NOTHING = "-"
_DIME = Decimal("0.1")
_COMPACT = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def write_usd(amount: Decimal) -> str:
    """Write money: cents, and three significant digits below ten cents.

    So nothing that costs something is written as 0.
    """
    if not amount:
        return "$0.00"
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size >= _DIME:
        return f"{sign}${size:,.2f}"
    whole, _, fraction = f"{size:.{2 - size.adjusted()}f}".partition(".")
    return f"{sign}${whole}.{fraction.rstrip('0'):0<2}"


def known_usd(sum_usd: Decimal, unpriced: int, calls: int = 0) -> Decimal | None:
    """Return a sum of known costs, None where it leaves out all there is to pay for.

    It leaves out `unpriced` calls; `calls` says of how many, where free ones may be among them.
    """
    return None if unpriced and unpriced >= calls and not sum_usd else sum_usd


def known_cost(total: Total) -> Decimal | None:
    """Return what the calls cost as far as their prices are known, None where none is."""
    return known_usd(total.cost_usd, total.unpriced_calls, total.calls)


def write_cost(known: Decimal | None, unpriced: int) -> str:
    """Write a cost; `+` says that calls without a price come on top."""
    if known is None:
        return "unknown"
    return f"{write_usd(known)}{'+' if unpriced else ''}"


def write_count(number: int) -> str:
    """Write a count in at most six characters: `9,999`, `12.3k`, `4.56M`."""
    if abs(number) < 10_000:
        return f"{number:,}"
    # what rounds up to a thousand of one unit is one of the next
    unit, letter = next(each for each in _COMPACT if abs(number) >= each[0] * 0.9995)
    scaled = number / unit
    places = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:.{places}f}{letter}"


def write_share(share: Decimal | None) -> str:
    """Write a share as per cent; only nothing is `0%`, and only all is `100%`."""
    if share is None:
        return NOTHING
    if 0 < share < Decimal("0.0005"):
        return "<0.1%"
    if Decimal("0.9995") <= share < 1:
        return ">99.9%"
    return f"{share * 100:.1f}".removesuffix(".0") + "%"


def share(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """Return part / whole, None where the whole is nothing."""
    return Decimal(part) / Decimal(whole) if whole else None


def estimated_share(total: Total) -> Decimal | None:
    """Return the share of the known cost whose tokens were estimated."""
    return share(total.estimated_cost_usd, total.cost_usd)


def cache_hit_share(total: Total) -> Decimal | None:
    """Return the share of input tokens that were read from a cache."""
    return share(total.cache_read, total.input_tokens)


def display_name(value: str) -> str:
    """Return a key as it can be shown anywhere: nothing that a terminal would obey.

    Calls without an agent have an empty one.
    """
    return "".join(each if each.isprintable() else "?" for each in value) or "(none)"


def plural(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
