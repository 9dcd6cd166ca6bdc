"""One request of OpenAI's Responses over HTTP, and what is kept of answered ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestify.calls.target import Target
from orchestify.errors import OrchestifyError
from orchestify.lanes.responses.lane import speaks_responses
from orchestify.providers.base import LLMProvider
from orchestify.server.access.authentication import require
from orchestify.server.gateway.errors import OPENAI, RESPONSES, error_event, error_response
from orchestify.server.gateway.exchange import Exchange
from orchestify.server.gateway.json_fields import wrong
from orchestify.server.gateway.responses.answer import ResponseWriter, whole_answer
from orchestify.server.gateway.responses.kept import KeptResponses, refuse_missing
from orchestify.server.gateway.responses.native import permitted_request, whole_request
from orchestify.server.gateway.responses.request import (
    IGNORED,
    PASSED_ON,
    SEARCH,
    ResponsesRequest,
    responses_request,
)
from orchestify.server.gateway.targets import speaks_openai, targets_of
from orchestify.server.service import Service
from orchestify.server.tenants.tenant_providers import TenantProviders
from orchestify.values import LLMResponse, NativeRequest


class ResponsesExchange(Exchange[ResponsesRequest]):
    """Answers one request; what only the same protocol can be told goes to targets that speak it.

    A stream ends with `response.completed` or `response.incomplete`.
    """

    error_form = RESPONSES
    keep_alive = b": keep-alive\n\n"

    def _parsed(self, body: bytes) -> ResponsesRequest:
        return responses_request(body)

    async def _answer(self, asked: ResponsesRequest) -> None:
        self._kept = KeptResponses(self._service.responses, self._tenant)
        self._asked = asked
        self._events: ResponseWriter | None = None
        if asked.refers:
            await self._kept.recall(asked)
        await super()._answer(asked)

    def _arguments(
        self, asked: ResponsesRequest, provider: LLMProvider, registry: TenantProviders
    ) -> dict[str, Any]:
        speaking = list(filter(_speaks, targets_of(provider)))
        speaks = bool(speaking) and len(speaking) == len(targets_of(provider))
        self.keeps_thinking = not speaks
        arguments = dict(asked.arguments)
        if arguments.get("thinking") and not provider.supports_thinking():
            del arguments["thinking"]
            asked.warnings += ("thinking_dropped",)
        passed = {} if speaking or not speaks_openai(provider) else _passed_on(asked)
        if not speaks:
            _tell_others(asked, passed)
        if speaking:
            arguments["native"] = self._native(asked, speaking, registry, speaks=speaks)
        return {**arguments, "options": passed} if passed else arguments

    def _native(
        self,
        asked: ResponsesRequest,
        speaking: list[Target],
        registry: TenantProviders,
        *,
        speaks: bool,
    ) -> NativeRequest:
        """Return what targets of the same protocol get.

        Raises:
            InvalidParameterError: it has what does not go with the operator's key, or refers to
                what is not kept.
        """
        if all(registry.has_own_key(each.provider_id) for each in speaking):
            if not speaks:
                refuse_missing(asked)
            return whole_request(asked)
        refuse_missing(asked)
        return permitted_request(asked, self._service.settings)

    def _body(self, response: LLMResponse, asked: ResponsesRequest) -> dict[str, Any]:
        return self._whole

    def _writer(
        self, call_id: str, asked: ResponsesRequest, *, names_provider: bool
    ) -> ResponseWriter:
        self._events = ResponseWriter(call_id, asked)
        return self._events

    async def _keep(self, response: LLMResponse) -> None:
        """Keep the answer where it is asked for; `store` says whether it is."""
        await super()._keep(response)
        asked = self._asked
        made = self._events.whole(response) if self._events else whole_answer(response, asked)
        self._whole = made
        if asked.is_kept and not await self._kept.put(made, asked.items):
            asked.is_kept = made["store"] = False
            asked.warnings += ("response_not_kept",)

    def _event_of(self, error: OrchestifyError | HTTPException) -> bytes:
        number = 0 if self._events is None else self._events.next_number()
        return error_event(error, self.error_form, number, self._request_id)


async def get_response(request: Request, service: Service) -> Response:
    """Return a kept answer."""
    try:
        kept = await _kept_of(request, service)
        if request.query_params.get("stream", "false").lower() not in ("", "false", "0"):
            raise wrong("stream", "a kept answer is not told as events again; leave it out")
        id_ = request.path_params["response"]
        found = await kept.get(id_)
        if found is None:
            raise _not_kept(id_)
    except (OrchestifyError, HTTPException) as error:
        return error_response(error, OPENAI)
    return Response(json.dumps(found.body), media_type="application/json")


async def delete_response(request: Request, service: Service) -> Response:
    """Drop a kept answer."""
    id_ = request.path_params["response"]
    try:
        kept = await _kept_of(request, service)
        if await kept.get(id_) is None:
            raise _not_kept(id_)
        if not await kept.drop(id_):
            raise HTTPException(503, "redis is away, and has the response", {"Retry-After": "5"})
    except (OrchestifyError, HTTPException) as error:
        return error_response(error, OPENAI)
    told = {"id": id_, "object": "response", "deleted": True}
    return Response(json.dumps(told), media_type="application/json")


async def not_offered(request: Request) -> Response:
    """Say in words that there is no such operation; clients do not ask again after a 404."""
    what = request.url.path.rpartition("/")[2]
    try:
        await require(request, "call")
        raise HTTPException(404, f"this service has no {what} of responses")
    except (OrchestifyError, HTTPException) as error:
        return error_response(error, OPENAI)


async def _kept_of(request: Request, service: Service) -> KeptResponses:
    principal = await require(request, "call")
    return KeptResponses(service.responses, principal.tenant_id)


def _not_kept(id_: str) -> HTTPException:
    why = "it was not stored, was deleted, or 24 hours are over"
    return HTTPException(404, f"response with id {id_[:80]!r} not found: {why}")


def _speaks(target: Target) -> bool:
    return speaks_responses(target.lane, target.model)


def _tell_others(asked: ResponsesRequest, passed: Mapping[str, Any]) -> None:
    """Refuse what a target of another protocol cannot be told, and name what is left out.

    `passed` goes all the same.

    Raises:
        InvalidParameterError: there is something that cannot be left out.
    """
    refuse_missing(asked)
    if asked.untold:
        raise wrong(asked.untold[0], "is not supported by the provider of this model")
    given = {name for name in IGNORED & asked.form.keys() if asked.form[name] is not None}
    given |= {"verbosity"} & (asked.form.get("text") or {}).keys()
    given |= {SEARCH} if asked.searches else set()
    given |= asked.unread
    asked.warnings += tuple(f"{name}_dropped" for name in sorted(given - passed.keys()))


def _passed_on(asked: ResponsesRequest) -> dict[str, Any]:
    """Return the fields that OpenAI's Chat Completions take as well, as they are named there."""
    passed = {name: asked.form[name] for name in PASSED_ON if asked.form.get(name) is not None}
    verbosity = (asked.form.get("text") or {}).get("verbosity")
    return passed if verbosity is None else {**passed, "verbosity": verbosity}
