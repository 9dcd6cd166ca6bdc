"""A loopback server that speaks OpenAI's two protocols and Anthropic's, for tests.

    from orchestify import OpenAIProvider
    from orchestify.testing import Reply, StubServer

    async with StubServer() as server:
        server.script(Reply(status=429, retry_after="1"), Reply(text="hello"))
        provider = OpenAIProvider(
            "stub", {"base_url": server.openai_url, "api_key": "any", "default_model": "stub"}
        )
        response = await provider.complete("hi")

        assert response.content == "hello"
        assert [request.status for request in server.requests] == [429, 200]
        assert server.account.billed.output_tokens == response.tokens_output

Left alone it answers as a small model would: text from the request, a tool call where one is
forced or where the prompt names the tool (or the weather), text after the tool's result, JSON that
fits a schema, thinking where it was asked for, and usage with all its parts. What a real server
refuses is refused: a missing key or one that begins with `wrong` (401), `missing-model` (404), a
body without messages (400).

What it answers is told by `script`, by a function in `respond`, or in the name of the model, which
needs no state shared between tests: `stub;status=529`, `stub;chunks=50;cut_after=3` (the grammar is
in `orchestify.testing.reply`). What it saw is in `requests`, `account`, `connections`, `active`.

Batches of both APIs are in `batches`: they end when they are first asked for, or, with
`server.batches.holds = True`, as `server.batches.end("expired", done=3)` says; its `script` takes
the faults of an operation (`create`, `results`...).

`Recordings` keep what real providers answered, for tests without them.

`with StubServer.in_thread() as server` serves scripts and synchronous tests, `python -m
orchestify.testing` other processes. Tests that need no HTTP at all use a provider of `type: mock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestify.lazy_names import lazy_names

if TYPE_CHECKING:
    from orchestify.testing.account import (
        Account as Account,
        Connections as Connections,
        Outcome as Outcome,
        StubRequest as StubRequest,
        UsageSum as UsageSum,
    )
    from orchestify.testing.batches import (
        StubBatch as StubBatch,
        StubBatches as StubBatches,
    )
    from orchestify.testing.recordings import (
        Recordings as Recordings,
    )
    from orchestify.testing.reply import (
        NAMED_ERRORS as NAMED_ERRORS,
        Reply as Reply,
        Writes as Writes,
        parse_reply as parse_reply,
    )
    from orchestify.testing.schema import (
        minimal_instance as minimal_instance,
    )
    from orchestify.testing.server import (
        MISSING_MODEL as MISSING_MODEL,
        Respond as Respond,
        StubServer as StubServer,
    )


if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__)
