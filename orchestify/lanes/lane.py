"""What every way out to a provider has in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from orchestify.values import CompletionRequest, LLMResponse, StreamEvent


class Sender(Protocol):
    """Whatever can send one request: a lane, or a provider."""

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


class Lane(Sender, Protocol):
    """How one configured provider sends one request: no policy, no retry, no booking."""

    async def list_models(self) -> list[str] | None:
        """Return the models the provider lists, or None where no free request exists.

        Raises:
            APIError: the provider could not be asked.
        """

    async def aclose(self) -> None:
        """Close what is open."""
