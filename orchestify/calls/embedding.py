"""Embeddings: what a caller gives to `embed`, its batches, and their answers booked and joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias, TypedDict, Unpack, cast

from orchestify.calls.call import AttemptState, CallState
from orchestify.calls.request import (
    Call,
    CallKeywords,
    Defaults,
    FallbackLike,
    ResponseCacheLike,
    call_of,
)
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
    """How much one request takes: inputs, and tokens in sum where that has a limit."""

    inputs: int
    tokens: int | None


# By LiteLLM's names of companies. Sources, read in November 2026:
# openai: OpenAI, "Create embeddings": 2,048 inputs, 300,000 tokens.
# azure: Microsoft, "Learn how to generate embeddings": 2,048 inputs, 8,192 tokens; the reference of
#     Foundry's v1 says OpenAI's 300,000, and the lower holds at both.
# gemini: the API's own error: "BatchEmbedContentsRequest.requests: at most 100 requests can be in
#     one batch"; no limit of the sum is told.
# vertex_ai: Google, "Get text embeddings": 250 texts, 20,000 tokens.
# mistral: the API's own error: "Too many tokens in batch. Max is 16384".
# dashscope: Alibaba, "Model Studio: text embedding, synchronous API": 10 rows, 8,192 tokens.
BATCHES: Mapping[str, Batch] = {
    "openai": Batch(2_048, 300_000),
    "azure": Batch(2_048, 8_192),
    "gemini": Batch(100, None),
    "vertex_ai": Batch(250, 20_000),
    "vertex_ai-embedding-models": Batch(250, 20_000),
    "mistral": Batch(2_048, 16_384),
    "dashscope": Batch(10, 8_192),
}
OTHERS = Batch(32, 16_384)
"""Of endpoints that nobody knows: what text-embeddings-inference takes unless it is told otherwise
(`--max-client-batch-size`), and Mistral's tokens; hosted ones take more (Cohere 96 texts)."""

ONE_EACH = "gemini-embedding"
"""How the names of models begin that take one input a request at Vertex.

Source: Google, "Get text embeddings"."""

ESTIMATED_SHARE = 0.8
"""How much of a limit of tokens is used, since ours are estimates."""


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
    response_cache: ResponseCacheLike | None = False  # vectors are not kept

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
        limits = list(map(batch_at, targets))
        most_inputs = min(limit.inputs for limit in limits)
        sums = [limit.tokens for limit in limits if limit.tokens is not None]
        most_tokens = ESTIMATED_SHARE * min(sums, default=math.inf)
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


def batch_at(target: Target) -> Batch:
    """Return how much one request takes at a target."""
    batch = BATCHES.get(target.endpoint or "", OTHERS)
    is_vertex = (target.endpoint or "").startswith("vertex_ai")
    if is_vertex and target.model.rpartition("/")[2].startswith(ONE_EACH):
        return batch._replace(inputs=1)
    return batch


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
