"""What a refusal says of a model whose name tells nothing: a deployment's own, an alias's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from orchestify.lanes.classify import Failure
from orchestify.values import CompletionRequest

Limit: TypeAlias = Literal["max_tokens", "max_completion_tokens"]

_LIMITS: tuple[Limit, ...] = ("max_tokens", "max_completion_tokens")
_SAMPLING = ("temperature", "top_p", "stop")
# Sources: OpenAI and Azure ("Unsupported parameter: 'max_tokens' is not supported with this model.
# Use 'max_completion_tokens' instead.", "Unsupported value: 'temperature' does not support 0.2 with
# this model", "Unrecognized request argument supplied: max_completion_tokens"), and servers on
# pydantic ("Extra inputs are not permitted").
_REFUSES = re.compile(
    r"unsupported|not supported|unrecognized|unknown|unexpected|not permitted|not allowed|"
    r"extra_forbidden|instead",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"unsupported (?:value|parameter): '(\w+)'", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of one model: the field that limits its answer, and sampling it refuses."""

    max_tokens: Limit | None = None
    refused: frozenset[str] = frozenset()

    def after(self, failure: Failure, request: CompletionRequest) -> Learned | None:
        """Return what is known after a refusal of `request`, None where it teaches nothing.

        A model that refuses the other field as well is not asked again. A refusal that was under
        way while another call learned the same teaches it, too: its request goes out otherwise.
        """
        if failure.status not in (400, 422):
            return None
        other = _other_limit(failure, request)
        if other is not None and other == (self.max_tokens or other):
            return replace(self, max_tokens=other)
        refused = frozenset(_sampling_refused(failure, request))
        return replace(self, refused=self.refused | refused) if refused else None


NOTHING_LEARNED = Learned()


def _other_limit(failure: Failure, request: CompletionRequest) -> Limit | None:
    """Return the field to use in place of the one that is refused, None where none is.

    The refused one is that which the message names first.
    """
    if request.max_tokens is None or not _REFUSES.search(failure.message):
        return None
    places = {name: re.search(rf"\b{name}\b", failure.message) for name in _LIMITS}
    named = sorted((found.start(), name) for name, found in places.items() if found)
    if not named:
        return None
    return "max_tokens" if named[0][1] == "max_completion_tokens" else "max_completion_tokens"


def _sampling_refused(failure: Failure, request: CompletionRequest) -> Iterator[str]:
    for name in _REFUSED.findall(failure.message):
        if name in _SAMPLING and getattr(request, name) not in (None, ()):
            yield name
