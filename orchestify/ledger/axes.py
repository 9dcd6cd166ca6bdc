"""The axes of reports: by what usage is grouped and filtered, and how each is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestify.errors import InvalidParameterError

AXES = ("provider", "agent", "model", "day", "tenant", "key")
"""The axes of every record, in the order in which they are listed; each label is one, too."""

TIME_AXES = ("day",)
"""The axes of time: reports list their values in order."""

LABEL = "label:"
"""The prefix of a label's axis, as in `label:run`."""


class TotalKey(NamedTuple):
    """The values under which totals are kept in memory, one a record; all are axes."""

    day: str
    provider: str
    agent: str
    model: str
    tenant: str
    key: str = ""


def axes_in_words(key: str = "<key>", *, without: Collection[str] = ()) -> str:
    """Return the axes as help texts and messages list them; `key` stands for a label's key."""
    named = [axis for axis in AXES if axis not in without]
    return f"{', '.join(named)} or {LABEL}{key}"


def axes_of(by: str | Sequence[str], where: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the axes of `by`, checked together with those of `where`.

    Raises:
        InvalidParameterError: one of them does not exist, or it is none.
    """
    if not isinstance(by, Iterable):
        raise InvalidParameterError(f"by is one axis or several, not a {type(by).__name__}")
    if where is not None and not (
        isinstance(where, Mapping) and all(isinstance(each, str) for each in where.values())
    ):
        raise InvalidParameterError('where maps axes to texts: {"agent": "planner"}')
    axes = (by,) if isinstance(by, str) else tuple(by)
    for axis in (*axes, *(where or ())):
        is_known = isinstance(axis, str) and (
            axis in AXES or (is_label(axis) and len(axis) > len(LABEL))
        )
        if not is_known:
            raise InvalidParameterError(f"cannot report by {axis!r}; choose from {axes_in_words()}")
    return axes


def is_label(axis: str) -> bool:
    """Whether the axis is a label's."""
    return axis.startswith(LABEL)


def label_key(axis: str) -> str:
    """Return the label's key in the axis of a label."""
    return axis.removeprefix(LABEL)


def require_in_memory(*axes: str) -> None:
    """Check that totals in memory are kept by these axes, labels aside.

    Raises:
        InvalidParameterError: one of them is none.
    """
    for axis in axes:
        if axis not in TotalKey._fields:
            raise InvalidParameterError(
                f"the ledger in memory keeps no totals by {axis!r}, only by "
                f"{', '.join(TotalKey._fields)}; set ledger.url to keep records"
            )
