"""One request of OpenAI's Embeddings over HTTP."""

from __future__ import annotations

import json

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestify.errors import InvalidParameterError, OrchestifyError
from orchestify.server.access.authentication import require
from orchestify.server.gateway.call_headers import answer_headers, time_limit
from orchestify.server.gateway.embeddings.request import EmbeddingsRequest, embeddings_request
from orchestify.server.gateway.errors import error_response
from orchestify.server.gateway.exchange import CancelOnDisconnect
from orchestify.server.gateway.targets import speaks_openai
from orchestify.server.service import Service
from orchestify.values import EmbeddingResponse


async def embeddings(request: Request, service: Service) -> Response:
    """Return a vector for each input; a client that disconnects cancels the call at once."""
    try:
        tenant = (await require(request, "call")).tenant_id
        asked = embeddings_request(await request.body())
        async with (
            service.calling(tenant) as registry,
            CancelOnDisconnect(request.receive) as client,
        ):
            provider = registry.find(asked.model)
            arguments = {**asked.arguments, **time_limit(request.headers)}
            warnings: tuple[str, ...] = ()
            if asked.passed_on and speaks_openai(provider):
                arguments["options"] = asked.passed_on
            else:
                warnings = tuple(f"{name}_dropped" for name in asked.passed_on)
            answer = await provider.embed(**arguments)
        if client.has_disconnected:
            return Response(status_code=499)
    except InvalidParameterError as error:
        return error_response(_named(error))
    except (OrchestifyError, HTTPException) as error:
        return error_response(error)
    response = Response(_body(answer, asked), media_type="application/json")
    response.raw_headers += answer_headers(answer, warnings)
    return response


def _named(error: InvalidParameterError) -> InvalidParameterError:
    """Return the error with the field's name as the protocol has it."""
    text = str(error.args[0])
    return InvalidParameterError(f"input{text[5:]}") if text.startswith("texts") else error


def _body(answer: EmbeddingResponse, asked: EmbeddingsRequest) -> bytes:
    vectors = answer.packed() if asked.is_packed else [each.tolist() for each in answer.vectors]
    rows = [
        {"object": "embedding", "index": number, "embedding": vector}
        for number, vector in enumerate(vectors)
    ]
    tokens = answer.usage.input_tokens
    cost = None if answer.cost_usd is None else float(answer.cost_usd)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": cost}
    form = {"object": "list", "data": rows, "model": asked.model, "usage": usage}
    return json.dumps(form, separators=(",", ":")).encode()
