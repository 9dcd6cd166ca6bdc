"""Batches as the stub server keeps them: OpenAI's files and batches, Anthropic's message batches.

Sources: OpenAI, "Batch API" and its reference (`/v1/batches`, `/v1/files`); Anthropic, "Batch
processing" and the reference of Message Batches. Where real results come in no order, these come
backwards.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl

from orchestify.testing.account import StubRequest, UsageSum
from orchestify.testing.answer import RefusedError, compose
from orchestify.testing.reply import Reply, split_model
from orchestify.testing.wire import ANTHROPIC, OPENAI, RESPONSES, Wire, read_body
from orchestify.values import Usage

Operation: TypeAlias = Literal[
    "upload", "files", "create", "retrieve", "list", "cancel", "results", "delete"
]
Ending: TypeAlias = Literal["completed", "expired", "cancelled", "failed"]

_FILES, _BATCHES, _MESSAGE_BATCHES = "/v1/files", "/v1/batches", "/v1/messages/batches"
_WIRES: Mapping[str, Wire] = {"/v1/chat/completions": OPENAI, "/v1/responses": RESPONSES}
_PATH = re.compile(rf"({_MESSAGE_BATCHES}|{_BATCHES}|{_FILES})(?:/([^/]+))?(?:/([a-z]+))?")
_OPERATIONS: Mapping[tuple[str, bool, str], Operation] = {
    ("POST", False, ""): "create",
    ("GET", False, ""): "list",
    ("GET", True, ""): "retrieve",
    ("GET", True, "content"): "results",
    ("GET", True, "results"): "results",
    ("POST", True, "cancel"): "cancel",
    ("DELETE", True, ""): "delete",
}
_DAY = timedelta(hours=24)
_NOT_DONE: Mapping[Ending, str] = {"expired": "batch_expired", "cancelled": "batch_cancelled"}


@dataclass(slots=True)
class StubBatch:
    """One batch: its requests by custom id and body, and what became of them.

    `done` is how many requests were answered when it ended, in their order. `metadata` is
    OpenAI's alone, `file_id` the file that it was made of.
    """

    id: str
    wire: Wire = field(repr=False)
    url: str
    requests: Sequence[tuple[str, Mapping[str, Any]]] = field(repr=False)
    created_at: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    file_id: str = ""
    ending: Ending | None = None
    done: int = 0
    is_cancelling: bool = False
    outputs: list[bytes] = field(default_factory=list, repr=False)
    errors: list[bytes] = field(default_factory=list, repr=False)
    answered: int = 0
    failed: int = 0


class StubBatches:
    """The batches and files of one stub server.

    A batch ends when it is first asked for after its creation, all of its requests answered;
    while `holds` is set it runs until `end` says how it ends. `script` queues what an operation
    answers with in place of its own answer: an error is not carried out, and of everything else
    only the answer is lost. `billed` sums what was answered.
    """

    def __init__(self) -> None:
        self.holds = False
        self.batches: dict[str, StubBatch] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.billed = UsageSum()
        self._replies: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._made = 0

    def script(self, operation: Operation, *replies: Reply) -> None:
        """Queue replies for an operation, one a request."""
        self._replies[operation].extend(replies)

    def end(self, ending: Ending = "completed", done: int | None = None) -> None:
        """End every batch that runs, `done` of its requests answered (all where None)."""
        for batch in self.batches.values():
            if batch.ending is None:
                self._end(batch, ending, len(batch.requests) if done is None else done)

    def serves(self, path: str) -> bool:
        """Whether a path is of one of these APIs."""
        return _PATH.fullmatch(path) is not None

    def prepared(self, seen: StubRequest, query: str) -> tuple[Reply | None, Callable[[], bytes]]:
        """Return the reply that was scripted for a request, and what carries the request out.

        Raises: RefusedError where the real server would not know the path.
        """
        found = _PATH.fullmatch(seen.path)
        place, name, action = ("", None, None) if found is None else found.groups()
        operation = _OPERATIONS.get((seen.method, name is not None, action or ""))
        if operation is None:
            raise RefusedError(405, f"Not allowed to {seen.method} on {seen.path}.")
        if place == _FILES:
            operation = {"create": "upload", "list": "files"}.get(operation, operation)  # type: ignore[assignment]
        queue = self._replies[operation]
        answers = self._file_answer if place == _FILES else self._batch_answer
        asked = dict(parse_qsl(query))

        def carry_out() -> bytes:
            body = answers(operation, place, name or "", seen, asked)
            return body if isinstance(body, bytes) else json.dumps(body).encode()

        return queue.popleft() if queue else None, carry_out

    def _file_answer(
        self, operation: str, _: str, name: str, seen: StubRequest, asked: Mapping[str, str]
    ) -> Any:
        if operation == "upload":
            return self._file(self._uploaded(seen))
        if operation == "files":
            return {"object": "list", "data": [*map(self._file, self.files)], "has_more": False}
        content = self._content(name)
        if operation == "results":
            return content
        if operation == "delete":
            self.files.pop(name, None)
            return {"id": name, "object": "file", "deleted": True}
        return self._file(name)

    def _batch_answer(
        self, operation: str, place: str, name: str, seen: StubRequest, asked: Mapping[str, str]
    ) -> Any:
        is_anthropic = place == _MESSAGE_BATCHES
        told = _anthropic if is_anthropic else _openai
        if operation == "create":
            return told(self._anthropic(seen) if is_anthropic else self._openai(seen))
        if operation == "list":
            return self._page(place, told, asked)
        batch = self.batches.get(name)
        if batch is None or (batch.wire is ANTHROPIC) != is_anthropic:
            raise RefusedError(404, f"No batch found with id '{name}'.")
        if operation == "results":
            return _results(batch)
        if operation == "delete":
            del self.batches[name]
            return {"id": name, "type": "message_batch_deleted"}
        if operation == "cancel":
            _cancel(batch)
        elif batch.ending is None:
            self._move_on(batch)
        return told(batch)

    def _move_on(self, batch: StubBatch) -> None:
        """End a batch that is asked for, if it is to end."""
        if batch.is_cancelling:
            self._end(batch, "cancelled", 0)
        elif not self.holds:
            self._end(batch, "completed", len(batch.requests))

    def _page(
        self, place: str, told: Callable[[StubBatch], Any], asked: Mapping[str, str]
    ) -> Mapping[str, Any]:
        own = [
            each
            for each in reversed(self.batches.values())
            if (each.wire is ANTHROPIC) == (place == _MESSAGE_BATCHES)
        ]
        after = asked.get("after") or asked.get("after_id")
        ids = [each.id for each in own]
        begin = ids.index(after) + 1 if after in ids else 0
        limit = int(asked.get("limit", "20"))
        page = own[begin : begin + limit]
        return {
            "object": "list",
            "data": [told(each) for each in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": begin + limit < len(own),
        }

    def _uploaded(self, seen: StubRequest) -> str:
        kind = seen.headers.get("Content-Type", "")
        message = BytesParser(policy=HTTP).parsebytes(
            b"Content-Type: " + kind.encode() + b"\r\n\r\n" + seen.raw_body
        )
        parts = {
            part.get_param("name", header="content-disposition"): part
            for part in message.iter_parts()
        }
        if "purpose" not in parts or "file" not in parts:
            raise RefusedError(400, "Missing required parameter: 'purpose' or 'file'.")
        if _payload(parts["purpose"]).strip() != b"batch":
            raise RefusedError(400, "Invalid value for 'purpose'.", "purpose")
        self._made += 1
        name = f"file-stub{self._made:06x}"
        self.files[name] = (str(parts["file"].get_filename()), _payload(parts["file"]))
        return name

    def _file(self, name: str) -> Mapping[str, Any]:
        filename, content = self.files[name]
        return {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": 1735689600,
            "filename": filename,
            "purpose": "batch",
            "status": "processed",
        }

    def _content(self, name: str) -> bytes:
        if name not in self.files:
            raise RefusedError(404, f"No such File object: {name}")
        return self.files[name][1]

    def _openai(self, seen: StubRequest) -> StubBatch:
        body = read_body(seen)
        content, url = self._content(str(body.get("input_file_id"))), str(body.get("endpoint"))
        if url not in _WIRES or body.get("completion_window") != "24h":
            raise RefusedError(400, "Invalid value for 'endpoint' or 'completion_window'.")
        try:
            lines = [json.loads(line) for line in content.splitlines()]
            requests = [(each["custom_id"], each["body"]) for each in lines]
            is_whole = all(each["url"] == url and each["method"] == "POST" for each in lines)
        except (ValueError, KeyError, TypeError):
            is_whole, requests = False, []
        batch = self._new("batch_stub", _WIRES[url], url, requests)
        batch.file_id, batch.metadata = str(body["input_file_id"]), dict(body.get("metadata") or {})
        if not is_whole or len({name for name, _ in requests}) < len(requests) or not requests:
            self._end(batch, "failed", 0)
        return batch

    def _anthropic(self, seen: StubRequest) -> StubBatch:
        requests = read_body(seen).get("requests")
        if not isinstance(requests, list) or not requests:
            raise RefusedError(400, "requests: at least one request is required")
        named = [(each.get("custom_id"), each.get("params")) for each in requests]
        for place, (name, params) in enumerate(named):
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(name)) or not isinstance(params, dict):
                raise RefusedError(400, f"requests.{place}.custom_id: String should match pattern")
        if len({name for name, _ in named}) < len(named):
            raise RefusedError(400, "requests: custom_id must be unique")
        return self._new("msgbatch_stub", ANTHROPIC, "/v1/messages", named)

    def _new(self, kind: str, wire: Wire, url: str, requests: Sequence[Any]) -> StubBatch:
        self._made += 1
        name = f"{kind}{self._made:06x}"
        self.batches[name] = StubBatch(name, wire, url, requests, datetime.now(UTC))
        return self.batches[name]

    def _end(self, batch: StubBatch, ending: Ending, done: int) -> None:
        batch.ending, batch.done = ending, done
        for place, (custom_id, body) in reversed([*enumerate(batch.requests)]):
            if place < done:
                self._answer(batch, place, custom_id, body)
            elif ending in _NOT_DONE:
                _leave(batch, custom_id, ending)
        if batch.wire is ANTHROPIC:
            batch.outputs += batch.errors
            return
        for kind, lines in (("output", batch.outputs), ("error", batch.errors)):
            if lines:
                content = b"".join(lines)
                self.files[f"file-{kind}-{batch.id}"] = (f"{batch.id}_{kind}.jsonl", content)

    def _answer(
        self, batch: StubBatch, place: int, custom_id: str, body: Mapping[str, Any]
    ) -> None:
        wire, request_id = batch.wire, f"req_stub{place:016x}"
        try:
            answer, usage = _answered(wire, body, place)
        except RefusedError as refused:
            error = wire.encode_error(refused.status, refused.message, request_id, refused.param)
            batch.failed += 1
            batch.errors.append(_line(batch, custom_id, json.loads(error), refused.status))
            return
        if usage is not None:
            self.billed.add(usage)
        batch.answered += 1
        batch.outputs.append(_line(batch, custom_id, answer, 200))


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _results(batch: StubBatch) -> bytes:
    if batch.ending is None:
        raise RefusedError(404, "The batch has no results yet.")
    return b"".join(batch.outputs)


def _cancel(batch: StubBatch) -> None:
    if batch.ending is not None:
        raise RefusedError(400, "Cannot cancel a batch that has ended.")
    batch.is_cancelling = True


def _answered(wire: Wire, body: Mapping[str, Any], place: int) -> tuple[Any, Usage | None]:
    """Return the answer to one request, and what is billed for it.

    Raises: RefusedError where the request fails, as its model's directives may say.
    """
    try:
        ask = wire.read(body)
        model, reply = split_model(str(body.get("model") or ""))
    except ValueError as error:
        raise RefusedError(400, str(error), "model") from None
    except (AttributeError, KeyError, TypeError):
        raise RefusedError(400, "A part of the request has the wrong shape.") from None
    if reply.is_failure:
        raise RefusedError(reply.error_status, str(reply.error or "the stub was told to fail"))
    answer = compose(ask, reply, model, place, 0, cached=False)
    told = json.loads(wire.encode(answer))
    if wire is ANTHROPIC and "usage" in told:
        told["usage"]["service_tier"] = "batch"
    return told, answer.usage


def _leave(batch: StubBatch, custom_id: str, ending: Ending) -> None:
    """Tell that a request was not done when its batch ended."""
    batch.failed += batch.wire is ANTHROPIC
    if batch.wire is ANTHROPIC:
        result = {"type": "canceled" if ending == "cancelled" else ending}
        line: dict[str, Any] = {"custom_id": custom_id, "result": result}
    else:
        error = {"code": _NOT_DONE[ending], "message": "This request could not be executed."}
        line = {"id": "batch_req", "custom_id": custom_id, "response": None, "error": error}
    batch.errors.append(json.dumps(line).encode() + b"\n")


def _line(batch: StubBatch, custom_id: str, body: Any, status: int) -> bytes:
    if batch.wire is ANTHROPIC:
        result: dict[str, Any] = {"type": "succeeded", "message": body}
        if status != 200:
            result = {"type": "errored", "error": body}
        return json.dumps({"custom_id": custom_id, "result": result}).encode() + b"\n"
    response = {"status_code": status, "request_id": "req_stub", "body": body}
    told = {"id": "batch_req", "custom_id": custom_id, "response": response, "error": None}
    return json.dumps(told).encode() + b"\n"


def _openai(batch: StubBatch) -> Mapping[str, Any]:
    status = batch.ending or ("cancelling" if batch.is_cancelling else "in_progress")
    files = {
        "output_file_id": f"file-output-{batch.id}" if batch.outputs else None,
        "error_file_id": f"file-error-{batch.id}" if batch.errors else None,
    }
    problem = {"code": "invalid_json_line", "message": "This line is not parseable.", "line": 1}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.url,
        "errors": {"object": "list", "data": [problem]} if status == "failed" else None,
        "input_file_id": batch.file_id,
        "completion_window": "24h",
        "status": status,
        **files,
        "created_at": int(batch.created_at.timestamp()),
        "expires_at": int((batch.created_at + _DAY).timestamp()),
        "request_counts": {
            "total": len(batch.requests),
            "completed": batch.answered,
            "failed": batch.failed,
        },
        "metadata": dict(batch.metadata),
    }


def _anthropic(batch: StubBatch) -> Mapping[str, Any]:
    is_over, kinds = batch.ending is not None, dict.fromkeys(("canceled", "expired"), 0)
    left = len(batch.requests) - batch.done
    if batch.ending in _NOT_DONE:
        kinds["canceled" if batch.ending == "cancelled" else "expired"] = left
    status = "ended" if is_over else ("canceling" if batch.is_cancelling else "in_progress")
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0 if is_over else len(batch.requests),
            "succeeded": batch.answered,
            "errored": batch.done - batch.answered if is_over else 0,
            **kinds,
        },
        "created_at": batch.created_at.isoformat(),
        "expires_at": (batch.created_at + _DAY).isoformat(),
        "results_url": f"{_MESSAGE_BATCHES}/{batch.id}/results" if is_over else None,
    }
