"""What every way out to a provider has in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from orchestify.values import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    LLMResponse,
    StreamEvent,
)

DEFAULT_URLS: Mapping[str, str] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
}
"""Where the requests of a provider's `type` go, unless its `base_url` says otherwise."""


class Lane(Protocol):
    """How one configured provider sends one request: no policy, no retry, no booking."""

    async def send(self, request: CompletionRequest) -> LLMResponse:
        """Send one request and return the whole answer.

        Raises:
            APIError: a subclass that says what failed.
        """

    def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        """Send one request and yield its events; the last is `StreamEnd`.

        Closing the generator closes the connection.

        Raises:
            StreamInterruptedError: the stream ended before its protocol's end, after output.
            APIError: another subclass, before any output.
        """

    def wire_form(self, request: CompletionRequest, *, stream: bool) -> bytes | None:
        """Return all of a request that decides its answer, but for the model and the credential.

        That is where it goes, and what it is there; None where nobody can tell.

        Raises:
            InvalidParameterError: it cannot be sent.
        """

    async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Send one request and return a vector for each of its inputs, in order.

        Raises:
            InvalidParameterError: the protocol has no embeddings, or not of such inputs.
            APIError: a subclass that says what failed.
        """

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, or None where no free request exists.

        Raises:
            APIError: the provider could not be asked.
        """

    async def count_input(self, request: CompletionRequest) -> int | None:
        """Return how many input tokens a request has, or None where its provider does not count.

        Raises:
            APIError: the provider could not be asked.
        """

    async def aclose(self) -> None:
        """Close what is open."""
