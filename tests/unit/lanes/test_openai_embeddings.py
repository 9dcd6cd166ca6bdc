"""OpenAI's embeddings: the body that is sent, and what of an answer is a vector."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from orchestify.lanes.failures import MalformedError, RefusedError
from orchestify.lanes.openai.dialects import dialect_of
from orchestify.lanes.openai.embeddings import embeddings_body, embeddings_of
from orchestify.values import EmbeddingRequest, EmbeddingResponse

TWO = EmbeddingRequest(messages=(), model="embed", inputs=("one", "two"))
PACKED = "AAAAPwAAAL8="  # 0.5, -0.5
USAGE = {"prompt_tokens": 3, "total_tokens": 3}


def answered(*vectors: Any, **more: Any) -> dict[str, Any]:
    rows = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return {"data": rows, "model": "embed-1", "usage": USAGE, **more}


def test_base64_is_asked_for_where_it_is_known_to_be_taken() -> None:
    openai = embeddings_body(TWO, dialect_of("https://api.openai.com/v1"))
    others = embeddings_body(TWO, dialect_of("https://vllm.example/v1"))
    assert openai == {"model": "embed", "input": ["one", "two"], "encoding_format": "base64"}
    assert others == {"model": "embed", "input": ["one", "two"]}


def test_numbers_and_base64_are_read() -> None:
    answer = embeddings_of(answered([0.5, -0.5], PACKED), TWO)
    assert answer.vectors == (array("d", [0.5, -0.5]), array("f", [0.5, -0.5]))
    assert (answer.model, answer.usage.input_tokens) == ("embed-1", 3)


def test_a_vector_is_packed_as_openai_does_it() -> None:
    vectors = (array("d", [0.5, -0.5]), array("f", [0.5, -0.5]))
    assert EmbeddingResponse(vectors, "embed").packed() == (PACKED, PACKED)


def test_rows_in_another_order_are_put_back() -> None:
    rows = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    assert embeddings_of({"data": rows}, TWO).vectors == (array("d", [1.0]), array("d", [2.0]))


def test_rows_without_a_number_are_in_order() -> None:
    rows = [{"embedding": [1.0]}, {"embedding": [2.0]}]
    assert embeddings_of({"data": rows}, TWO).vectors == (array("d", [1.0]), array("d", [2.0]))


@pytest.mark.parametrize(
    "body",
    [
        answered([1.0]),
        answered([1.0], [2.0], [3.0]),
        answered([1.0], [2.0, 3.0]),
        answered([], []),
        answered([1.0], ["a"]),
        answered([1.0], [None]),
        answered([1.0], [True]),
        answered([1.0], [float("inf")]),
        answered([1.0], {"a": 1}),
        answered([1.0], None),
        answered("AAAAPwAAAL8=", "AAAA"),
        answered("!", "!"),
        answered([1.0], [[1.0]]),
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": {"0": [1.0]}},
        {"data": None},
        {"data": [1, 2]},
        {},
        [],
        "text",
        None,
    ],
)
def test_what_is_no_vector_for_each_input_is_no_answer(body: Any) -> None:
    with pytest.raises(MalformedError):
        embeddings_of(body, TWO)


def test_what_a_useless_answer_used_is_kept() -> None:
    with pytest.raises(MalformedError) as raised:
        embeddings_of(answered([1.0]), TWO)
    assert raised.value.usage is not None
    assert raised.value.usage.input_tokens == 3


def test_an_error_inside_a_200_is_a_refusal() -> None:
    with pytest.raises(RefusedError):
        embeddings_of({"error": {"message": "no such model", "code": 404}}, TWO)
