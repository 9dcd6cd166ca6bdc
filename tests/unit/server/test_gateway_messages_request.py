"""A body of Messages, as the gateway reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestify.errors import InvalidParameterError
from orchestify.server.gateway.messages.request import messages_request

BODY: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
}


def asked(**fields: Any) -> Any:
    return messages_request(json.dumps({**BODY, **fields}).encode())


@pytest.mark.parametrize("value", ["x", True, 1, 1.5, ["a"]])
@pytest.mark.parametrize("name", ["output_config", "thinking", "tool_choice", "output_format"])
def test_an_object_of_another_type_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameterError, match=rf"^{name}: expected an object$"):
        asked(**{name: value})


def test_stop_sequences_are_texts() -> None:
    with pytest.raises(InvalidParameterError, match=r"^stop_sequences: expected texts"):
        asked(stop_sequences=[1])
