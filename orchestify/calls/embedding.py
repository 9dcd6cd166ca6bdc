"""Embeddings: what a caller gives to `embed`, its batches, and their answers booked and joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias, TypedDict, Unpack, cast

from orchestify.calls.call import AttemptState, CallState
from orchestify.calls.request import Call, CallKeywords, Defaults, FallbackLike, call_of
from orchestify.calls.target import Target
from orchestify.errors import InvalidParameterError
from orchestify.models.estimate import count_tokens
from orchestify.values import (
    EmbeddingInput,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMMessage,
    Priority,
    Usage,
)

TextsLike: TypeAlias = str | Sequence[str | Sequence[int]]

MAX_DIMENSIONS = 1_000_000


class Batch(NamedTuple):
    """How much one request takes: inputs, and estimated tokens in sum."""

    inputs: int
    tokens: int


# By LiteLLM's names of companies; a fifth less than the tokens that a provider takes, since ours
# are estimates. Sources: OpenAI, "Create embeddings" (2,048 inputs, 300,000 tokens); Microsoft,
# "Azure OpenAI: embeddings"; Google, "Get text embeddings" (Vertex: 250, 20,000) and
# "batchEmbedContents" (100).
BATCHES: Mapping[str, Batch] = {
    "openai": Batch(2_048, 240_000),
    "azure": Batch(2_048, 240_000),
    "gemini": Batch(100, 80_000),
    "vertex_ai": Batch(250, 16_000),
    "vertex_ai-embedding-models": Batch(250, 16_000),
}
OTHERS = Batch(96, 80_000)
"""Of endpoints that nobody knows, and of those that take the fewest: Cohere's 96."""


class EmbeddingKeywords(TypedDict, total=False):
    """What `embed` takes by keyword only; None says as little as leaving it out.

    As for `complete`. `options` are extra fields of the request's body (`user`, `input_type`); the
    `options` of a provider's configuration are for chats.
    """

    fallback: FallbackLike | None
    timeout_s: float | None
    max_attempts: int | None
    priority: Priority
    options: Mapping[str, Any] | None


@dataclass(slots=True, kw_only=True)
class EmbeddingCall(Call):
    """One call for vectors, as its caller wants it."""

    inputs: tuple[EmbeddingInput, ...] = field(default=(), repr=False)
    dimensions: int | None = None

    def request(self, defaults: Defaults, *, model: str) -> EmbeddingRequest:
        """Return what a target with these `defaults` is asked, at this `model`."""
        timeout_s = defaults.timeout_s if self.timeout_s is None else self.timeout_s
        own_s = defaults.provider_timeout_s
        if own_s is not None:
            timeout_s = own_s if timeout_s is None else min(timeout_s, own_s)
        return EmbeddingRequest(
            messages=self.messages,
            model=model,
            max_tokens=1,  # nothing is written: what is held for output is next to nothing
            options=self.options,
            timeout_s=timeout_s,
            connect_timeout_s=defaults.connect_timeout_s,
            inputs=self.inputs,
            dimensions=self.dimensions,
        )

    def batches(self, targets: Sequence[Target]) -> Iterator[EmbeddingCall]:
        """Yield calls with as many inputs each as one request takes at every target, in order."""
        limits = [BATCHES.get(target.endpoint or "", OTHERS) for target in targets]
        most_inputs = min(limit.inputs for limit in limits)
        most_tokens = min(limit.tokens for limit in limits)
        begin = tokens = 0
        for at, message in enumerate(self.messages):
            more = count_tokens([message], model=targets[0].model)
            if at > begin and (at - begin == most_inputs or tokens + more > most_tokens):
                yield self._part(begin, at)
                begin, tokens = at, 0
            tokens += more
        yield self._part(begin, len(self.inputs))

    def _part(self, begin: int, end: int) -> EmbeddingCall:
        if end - begin == len(self.inputs):
            return self
        return replace(self, messages=self.messages[begin:end], inputs=self.inputs[begin:end])


def embedding_call_of(
    texts: TextsLike,
    model: str | None = None,
    dimensions: int | None = None,
    **keywords: Unpack[EmbeddingKeywords],
) -> EmbeddingCall:
    """Check the arguments of `embed` and return them as values.

    Raises:
        InvalidParameterError: one of them cannot be used; the message names it.
        TypeError: a keyword that `EmbeddingKeywords` does not have.
    """
    unknown = keywords.keys() - EmbeddingKeywords.__annotations__.keys()
    if unknown:
        raise TypeError(f"embed got an unexpected keyword argument {min(unknown)!r}")
    if dimensions is not None and (
        type(dimensions) is not int or not 0 < dimensions <= MAX_DIMENSIONS
    ):
        raise InvalidParameterError(f"dimensions is a whole number from 1 to {MAX_DIMENSIONS:,}")
    inputs = inputs_of(texts)
    checked = call_of("-", model, **cast("CallKeywords", keywords))
    fallback = checked.fallback
    return EmbeddingCall(
        messages=tuple(LLMMessage("user", _words(each)) for each in inputs),
        model=model,
        fallback=() if model is not None and fallback is None else fallback,
        timeout_s=checked.timeout_s,
        max_attempts=checked.max_attempts,
        priority=checked.priority,
        options=checked.options,
        inputs=inputs,
        dimensions=dimensions,
    )


def inputs_of(texts: TextsLike) -> tuple[EmbeddingInput, ...]:
    """Return what vectors are asked of, given as one text or several, or as tokens.

    Raises:
        InvalidParameterError: there is none, or one is empty or no text; its place is named.
    """
    if isinstance(texts, str):
        return (_input_of(texts, 0),)
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)) or not texts:
        raise InvalidParameterError("texts is one text or several")
    return tuple(_input_of(each, number) for number, each in enumerate(texts))


def booked(state: CallState, attempt: AttemptState, answer: EmbeddingResponse) -> EmbeddingResponse:
    """Book a batch's answer and return it with what only the call knows."""
    usage = answer.usage
    if usage.source == "unknown" or (usage.invalid and not usage.input_tokens):
        given = count_tokens(attempt.request.messages, model=attempt.request.model)
        usage = replace(usage, input_tokens=given, source="estimated")
    if "0" in answer.headers.values():  # something is used up
        attempt.learn(answer.headers)
    reported_usd = answer.cost_usd if answer.cost_source == "provider" else None
    cost = attempt.close("ok", usage, answer.model, reported_usd)
    state.attempts.append(attempt.told("ok"))
    complete = replace(
        answer,
        model=answer.model or attempt.target.model,
        usage=usage,
        cost_usd=cost.usd,
        cost_source=cost.source,
        provider=attempt.target.provider_id,
        latency_s=state.runtime.clock() - attempt.started,
        attempts=tuple(state.attempts),
        call_id=state.call_id,
    )
    state.ended(complete)
    return complete


def summed(answers: Sequence[EmbeddingResponse]) -> EmbeddingResponse:
    """Return the answer to a call from those of its batches, in order."""
    if len(answers) == 1:
        return answers[0]
    last, costs = answers[-1], [each.cost_usd for each in answers]
    known = [cost for cost in costs if cost is not None]
    sources = {each.usage.source for each in answers}
    usage = Usage(
        sum(each.usage.input_tokens for each in answers),
        source="estimated" if "estimated" in sources else "reported",
    )
    return replace(
        last,
        vectors=tuple(vector for each in answers for vector in each.vectors),
        usage=usage,
        cost_usd=sum(known[1:], known[0]) if len(known) == len(costs) else None,
        latency_s=sum(each.latency_s for each in answers),
        warnings=tuple(dict.fromkeys(word for each in answers for word in each.warnings)),
    )


def _input_of(given: object, number: int) -> EmbeddingInput:
    if isinstance(given, str):
        if not given:
            raise InvalidParameterError(f"texts[{number}] is empty; leave it out")
        return given
    tokens = () if not isinstance(given, Sequence) or isinstance(given, bytes) else tuple(given)
    if tokens and all(type(token) is int and token >= 0 for token in tokens):
        return tokens
    raise InvalidParameterError(f"texts[{number}] is a text, or the numbers of its tokens")


def _words(given: EmbeddingInput) -> str:
    """Return an input as a text: itself, or a word for each token."""
    return given if isinstance(given, str) else "t " * len(given)
