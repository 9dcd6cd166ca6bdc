from __future__ import annotations

import asyncio
import base64
from array import array
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestify import (
    EmbeddingRequest,
    EmbeddingResponse,
    FilePart,
    ImagePart,
    InvalidParameterError,
    LLMMessage,
    LLMResponse,
    RateLimitError,
    RecordingError,
    ServerError,
    StreamEnd,
    StreamEvent,
    StreamInterruptedError,
    TextDelta,
    TextPart,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.mock import MockAnswer, MockLane
from orchestify.testing import Recordings
from orchestify.testing.recordings import opened
from orchestify.testing.recordings.lane import RecordedLane
from orchestify.testing.recordings.opening import file_of
from orchestify.values import CompletionRequest, NativeEvent, NativeRequest

KEY = "a-key-that-looks-like-none"


class Scripted(MockLane):
    """A lane that gives an answer or events as they are; it counts what it is asked."""

    def __init__(
        self, answer: LLMResponse | None = None, events: tuple[StreamEvent, ...] = ()
    ) -> None:
        super().__init__("it", ())
        self.answer = answer
        self.events = events
        self.asked = 0

    async def send(self, request: CompletionRequest) -> LLMResponse:
        self.asked += 1
        return self.answer or await super().send(request)

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        self.asked += 1
        for each in self.events:
            yield each


class Hanging(MockLane):
    """A lane that gives one piece, or nothing, and no end."""

    async def send(self, request: CompletionRequest) -> LLMResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def open_stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent, None]:
        yield TextDelta("one")
        await asyncio.Event().wait()


def config(**settings: Any) -> ProviderConfig:
    return ProviderConfig.model_validate({"type": "openai", "default_model": "m", **settings})


class Overtaken(MockLane):
    """A lane whose first request is answered after its second."""

    def __init__(self, provider_id: str) -> None:
        super().__init__(provider_id)
        self.is_overtaken = asyncio.Event()

    async def send(self, request: CompletionRequest) -> LLMResponse:
        if request.messages[0].content == "second":
            self.is_overtaken.set()
            return answer("quick")
        await self.is_overtaken.wait()
        return answer("slow")


def request(*messages: LLMMessage | str, **more: Any) -> CompletionRequest:
    told = [LLMMessage("user", each) if isinstance(each, str) else each for each in messages]
    return CompletionRequest(messages=tuple(told), model="m", **more)


def lane_on(path: Path, lane: MockLane | None = None, mode: Any = "once") -> RecordedLane:
    """Return a lane with the recording as another run would open it."""
    return RecordedLane(Recordings(path, mode), "it", lane or Scripted())


def answer(text: str = "yes", **more: Any) -> LLMResponse:
    return LLMResponse(text, "m-1", 10, 2, "stop", usage=Usage(10, 2), **more)


async def events_of(lane: RecordedLane, asked: CompletionRequest) -> list[StreamEvent]:
    return [event async for event in lane.open_stream(asked)]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def is_there(path: Path) -> bool:
    return path.exists()


def written(path: Path, text: str) -> Path:
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recordings" / "it.yaml"


async def test_an_answer_comes_back_whole_but_for_headers_and_its_raw_form(path: Path) -> None:
    calls = (
        ToolCall("toolu_x9", "a", {"n": 1}, '{"n": 1}'),
        ToolCall("toolu_y8", "b", {}, "{broken", valid=False),
        ToolCall("toolu_z7", "c", {"n": 2}),
    )
    full = answer(
        thinking=Thinking("so", ({"type": "thinking", "thinking": "so", "signature": "c2ln"},)),
        tool_calls=calls,
        cost_usd=Decimal("0.000000123456789"),
        cost_source="provider",
        warnings=("temperature_dropped",),
        headers={"request-id": "req_1"},
        raw_response={"id": "msg_1"},
    )
    await lane_on(path, Scripted(full)).send(request("hi"))
    again = await lane_on(path).send(request("hi"))
    assert (again.headers, again.raw_response) == ({}, None)
    assert [each.id for each in again.tool_calls] == ["toolu_1", "toolu_2", "toolu_3"]
    assert [(each.name, each.arguments, each.raw_arguments) for each in again.tool_calls] == [
        ("a", {"n": 1}, '{"n": 1}'),
        ("b", {}, "{broken"),
        ("c", {"n": 2}, None),
    ]
    assert [each.valid for each in again.tool_calls] == [True, False, True]
    assert (again.thinking, again.cost_usd, again.cost_source) == (
        full.thinking,
        full.cost_usd,
        "provider",
    )
    assert (again.usage, again.tokens_input, again.tokens_output) == (full.usage, 10, 2)
    assert again.warnings == full.warnings


async def test_a_stream_keeps_its_pieces(path: Path) -> None:
    pieces: tuple[StreamEvent, ...] = (
        UsageUpdate(Usage(10, 1, iterations=(("m-2", Usage(3, 1)),))),
        ThinkingDelta("so"),
        TextDelta(""),
        TextDelta("no", is_refusal=True),
        TextDelta(" a\n\nb\u2028c \n"),
        ToolCallDelta(0, "call_1", "a", '{"n', {"google": {"thought_signature": "c2ln"}}),
        ToolCallDelta(0, "call_1", "a", '": 1}'),
        NativeEvent({"type": "ping"}, is_output=False),
        StreamEnd(answer("no a")),
    )
    lane = Scripted(events=pieces)
    assert await events_of(lane_on(path, lane), request("hi")) == list(pieces)
    assert await events_of(lane_on(path, lane), request("hi")) == list(pieces)
    assert lane.asked == 1


@pytest.mark.parametrize("code", ["f", "d"])
async def test_vectors_come_back_exactly(path: Path, code: str) -> None:
    vector = array(code, [0.1, -1e-30, 3.0])

    class Embeds(Scripted):
        async def embed_inputs(self, request: EmbeddingRequest) -> EmbeddingResponse:
            return EmbeddingResponse((vector, vector), "e-1", Usage(2), Decimal("0.1"), "provider")

    asked = EmbeddingRequest(messages=(), model="e", inputs=("one", (1, 2)))
    lane = lane_on(path, Embeds())
    lane.recordings.learn_secrets(config(api_key=base64.b64encode(vector.tobytes()).decode()))
    before = await lane.embed_inputs(asked)
    after = await lane_on(path).embed_inputs(asked)
    assert after == before
    assert after.vectors[0].typecode == code


async def test_an_error_comes_back_as_it_was(path: Path) -> None:
    error = ServerError("busy", provider="it", model="m", status=529, retry_after_s=2.5)
    error.usage, error.cost_usd, error.amended = Usage(3, 0), Decimal("0.5"), True

    class Fails(Scripted):
        async def send(self, request: CompletionRequest) -> LLMResponse:
            raise error

    with pytest.raises(ServerError):
        await lane_on(path, Fails()).send(request("hi"))
    with pytest.raises(ServerError) as caught:
        await lane_on(path).send(request("hi"))
    again = caught.value
    assert str(again) == str(error)
    assert (again.usage, again.cost_usd, again.amended) == (Usage(3, 0), Decimal("0.5"), True)
    assert (again.retryable, again.may_be_billed, again.retry_after_s) == (True, False, 2.5)


class HostsError(RateLimitError):
    """A class of a host's own."""


async def test_an_error_of_a_hosts_own_class_comes_back_as_its_nearest_of_ours(path: Path) -> None:
    class Fails(Scripted):
        async def send(self, request: CompletionRequest) -> LLMResponse:
            raise HostsError("slow down")

    with pytest.raises(HostsError):
        await lane_on(path, Fails()).send(request("hi"))
    with pytest.raises(RateLimitError, match="slow down"):
        await lane_on(path).send(request("hi"))


async def test_what_is_a_bug_is_not_recorded(path: Path) -> None:
    class Broken(Scripted):
        async def send(self, request: CompletionRequest) -> LLMResponse:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await lane_on(path, Broken()).send(request("hi"))
    assert not is_there(path)


async def test_a_cut_stream_gives_its_pieces_and_then_its_error(path: Path) -> None:
    lane = MockLane("it", [MockAnswer(text="one two three", cut_after=2)])
    with pytest.raises(StreamInterruptedError):
        await events_of(lane_on(path, lane), request("hi"))
    stream = lane_on(path).open_stream(request("hi"))
    assert [await anext(stream), await anext(stream)] == [TextDelta("one "), TextDelta("two ")]
    with pytest.raises(StreamInterruptedError) as caught:
        await anext(stream)
    assert caught.value.text == "one two "


async def test_where_the_reader_closed_a_stream_reading_on_is_an_error(path: Path) -> None:
    stream = lane_on(path, MockLane("it", [MockAnswer(text="one two")])).open_stream(request("hi"))
    await anext(stream)
    await stream.aclose()
    stream = lane_on(path).open_stream(request("hi"))
    assert await anext(stream) == TextDelta("one ")
    with pytest.raises(RecordingError, match=r"it.yaml:4: the stream was closed by its reader"):
        await anext(stream)


async def test_what_was_cancelled_waits_until_it_is_cancelled_again(path: Path) -> None:
    for behind in (Hanging("it"), Scripted()):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lane_on(path, behind).send(request("hi")), 0.5)


async def test_so_does_a_stream_after_its_pieces(path: Path) -> None:
    for behind in (Hanging("it"), Scripted()):
        stream = lane_on(path, behind).open_stream(request("hi"))
        assert await anext(stream) == TextDelta("one")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.5)


async def test_a_repeated_request_is_answered_in_order_and_not_more_often(path: Path) -> None:
    lane = lane_on(path, MockLane("it", [MockAnswer(text="one"), MockAnswer(text="two")]))
    for _ in range(2):
        await lane.send(request("hi"))
    lane = lane_on(path)
    assert [(await lane.send(request("hi"))).content for _ in range(2)] == ["one", "two"]
    with pytest.raises(
        RecordingError, match=r"it.yaml:18: this complete of it is recorded 2 times"
    ):
        await lane.send(request("hi"))


async def test_exchanges_stand_in_the_order_in_which_they_began(path: Path) -> None:
    lane = lane_on(path, Overtaken("it"))
    await asyncio.gather(lane.send(request("first")), lane.send(request("second")))
    text = text_of(path)
    assert text.index("content: slow") < text.index("content: quick")


async def test_once_does_not_add_to_a_file_and_all_replaces_it(path: Path) -> None:
    await lane_on(path, Scripted(answer("one"))).send(request("one"))
    before = text_of(path)
    with pytest.raises(RecordingError):
        await lane_on(path, Scripted(answer("two"))).send(request("two"))
    assert text_of(path) == before
    await lane_on(path, Scripted(answer("two")), "all").send(request("two"))
    assert "one" not in text_of(path)
    assert (await lane_on(path, mode="none").send(request("two"))).content == "two"


async def test_none_records_nothing(path: Path) -> None:
    lane = Scripted()
    with pytest.raises(RecordingError, match=r"it.yaml has no answer .*: nothing is recorded"):
        await lane_on(path, lane, "none").send(request("hi"))
    assert (lane.asked, is_there(path)) == (0, False)


def test_another_mode_is_refused(path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="one of once, none, all"):
        Recordings(path, "new_episodes")  # type: ignore[arg-type]


TOOL = Tool("get", "Gets", {"type": "object", "properties": {"a": {}, "b": {}}, "required": []})
TURNED = Tool("get", "Gets", {"required": [], "properties": {"b": {}, "a": {}}, "type": "object"})


def conversation(first: str, second: str, **given: Any) -> CompletionRequest:
    """Return a request with two calls and their results, under these ids."""
    calls = (ToolCall(first, "get", {"a": 1, "b": [1.0]}), ToolCall(second, "get", given))
    return request(
        LLMMessage("assistant", tool_calls=calls),
        LLMMessage("tool", "x", tool_call_id=second),
        LLMMessage("tool", "y", tool_call_id=first),
        tools=(TOOL,),
    )


async def test_other_ids_and_another_order_of_keys_are_the_same_request(path: Path) -> None:
    await lane_on(path, Scripted(answer("yes"))).send(conversation("id_1", "id_2", c=1, d=2))
    asked = conversation("other", "another", d=2, c=1.0)
    turned = CompletionRequest(messages=asked.messages, model="m", tools=(TURNED,))
    assert (await lane_on(path).send(turned)).content == "yes"


async def test_results_under_each_others_ids_are_another_request(path: Path) -> None:
    await lane_on(path, Scripted()).send(conversation("id_1", "id_2"))
    messages = conversation("id_1", "id_2").messages
    swapped = (messages[0], messages[2], messages[1])
    with pytest.raises(RecordingError, match=r"messages\.1\.tool_call_id"):
        await lane_on(path).send(CompletionRequest(messages=swapped, model="m", tools=(TOOL,)))


async def test_an_answers_new_id_is_none_of_the_present_conversation(path: Path) -> None:
    called = answer("", tool_calls=(ToolCall("call_Xy", "get"),))
    await lane_on(path, Scripted(called)).send(conversation("toolu_a", "toolu_b"))
    assert "call_Xy" not in text_of(path)
    again = await lane_on(path).send(conversation("call_1", "call_2"))
    assert [each.id for each in again.tool_calls] == ["call_3"]


async def test_ids_are_renamed_alike_in_an_answer_and_in_what_follows(path: Path) -> None:
    called = answer("", tool_calls=(ToolCall("call_Xy9", "get"), ToolCall("call_Zz8", "get")))
    behind = Scripted(called)
    lane = lane_on(path, behind)
    await lane.send(request("hi"))
    behind.answer = answer("done")
    await lane.send(conversation("call_Xy9", "call_Zz8"))
    text = text_of(path)
    assert (text.count("call_1"), text.count("call_2")) == (3, 3)
    assert ("call_Xy9" in text, "call_Zz8" in text) == (False, False)


async def test_arguments_of_tools_keep_what_is_named_as_an_id(path: Path) -> None:
    called = answer("", tool_calls=(ToolCall("call_Xy", "get", {"user_id": "u_77"}),))
    await lane_on(path, Scripted(called)).send(request("hi"))
    (call,) = (await lane_on(path).send(request("hi"))).tool_calls
    assert call.arguments == {"user_id": "u_77"}


async def test_keys_are_struck_out_wherever_they_stand(path: Path) -> None:
    lane = lane_on(path, Scripted(answer(f"it is {KEY}, or sk-abcdefghijkl")))
    lane.recordings.learn_secrets(
        config(api_key=KEY, headers={"x-org": "Bearer an-organisations-secret"})
    )
    native = {"system": "an-organisations-secret", "messages": []}
    asked = request(
        f"my key is {KEY}",
        LLMMessage("user", (TextPart("password=hunter2hunter2"),)),
        options={"session_token": "tok-123", "extra_headers": {"x": "y"}, "seed_text": KEY},
    )
    await lane.send(asked)
    await lane.send(request("hi", native=NativeRequest("messages", native, {"x-h": "head"})))
    text = text_of(path)
    for secret in (KEY, "an-organisations", "hunter2", "tok-123", "sk-abc", "extra_headers", "x-h"):
        assert secret not in text
    again = lane_on(path)
    again.recordings.learn_secrets(config(api_key=KEY))
    assert (await again.send(asked)).content == "it is ***, or ***"


@pytest.mark.parametrize("size", [1, 3, 7, 26])
async def test_a_key_that_a_stream_cuts_into_pieces_is_struck_out_of_them(
    path: Path, size: int
) -> None:
    said = f"so {KEY} it is, {KEY}{KEY}."
    parts = [said[at : at + size] for at in range(0, len(said), size)]
    pieces: list[StreamEvent] = []
    for part in parts:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"text": part}}
        output = {"type": "response.output_text.delta", "delta": part}
        pieces += [
            TextDelta(part),
            ThinkingDelta(part),
            ToolCallDelta(0, "call_1", "a", part),
            NativeEvent(delta, is_output=True),
            NativeEvent(output, is_output=True),
        ]
    lane = lane_on(path, Scripted(events=(*pieces, StreamEnd(answer("done")))))
    lane.recordings.learn_secrets(config(api_key=KEY))
    await events_of(lane, request("hi"))
    *again, _ = await events_of(lane_on(path), request("hi"))
    assert len(again) == len(pieces)
    texts = [each.text for each in again if isinstance(each, TextDelta)]
    thoughts = [each.text for each in again if isinstance(each, ThinkingDelta)]
    calls = [each.arguments for each in again if isinstance(each, ToolCallDelta)]
    natives = [each.event["delta"] for each in again if isinstance(each, NativeEvent)]
    blocks = [each["text"] for each in natives if isinstance(each, dict)]
    outputs = [each for each in natives if isinstance(each, str)]
    told = {"".join(each) for each in (texts, thoughts, calls, blocks, outputs)}
    assert told == {"so *** it is, ***."}


async def test_images_and_files_are_known_by_their_digest(path: Path) -> None:
    data = base64.b64encode(b"\x89PNG" * 20).decode()
    parts = (
        ImagePart(data=data, media_type="image/png"),
        ImagePart(url=f"data:image/png;base64,{data}"),
        ImagePart(url="https://example.com/cat.png", detail="low"),
        FilePart(data, name="a.pdf"),
    )
    await lane_on(path, Scripted()).send(request(LLMMessage("user", parts)))
    assert data not in text_of(path)
    assert "https://example.com/cat.png" in text_of(path)
    await lane_on(path).send(request(LLMMessage("user", parts)))
    other = FilePart(data[:-4] + "AAAA", name="a.pdf")
    with pytest.raises(RecordingError, match=r"content\.3\.file\.sha256"):
        await lane_on(path).send(request(LLMMessage("user", (*parts[:3], other))))


async def test_the_difference_tells_places_and_numbers_and_no_text(path: Path) -> None:
    secret = "the plan is to sell"
    lane = lane_on(path, Scripted())
    await lane.send(request("a river", max_tokens=5))
    call = ToolCall("call_1", "get", {"name": secret})
    history = (
        LLMMessage("user", secret),
        LLMMessage("assistant", tool_calls=(call,)),
        LLMMessage("tool", "x", tool_call_id="call_1", name="bob"),
    )
    await lane.send(request(*history, temperature=0.5, tools=(TOOL,), options={"user": secret}))
    other = request(
        history[0],
        LLMMessage(
            "assistant", tool_calls=(replace(call, arguments={"name": f"{secret}!", "more": 1}),)
        ),
        replace(history[2], name="eve"),
        temperature=0.7,
        tools=(TOOL, Tool("put")),
        options={"user": "another"},
    )
    with pytest.raises(RecordingError) as caught:
        await lane_on(path).send(other)
    said = str(caught.value)
    assert said == (
        f"{path} has no answer to this complete of it; the nearest request, at line 19, differs in:"
        "\n  request.messages.1.tool_calls.0.arguments.more: 1, only here"
        "\n  request.messages.1.tool_calls.0.arguments.name: a text of 20 characters here, a text "
        "of 19 characters recorded, the same up to character 19"
        "\n  request.messages.2.name: a text of 3 characters here, a text of 3 characters "
        "recorded, the same up to character 0"
        "\n  request.tools.1.name: 'put', only here"
        "\n  request.temperature: 0.7 here, 0.5 recorded"
        "\n  request.options.user: a text of 7 characters here, a text of 19 characters "
        "recorded, the same up to character 0"
        "\n  `pytest --recordings=all` records it anew"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [", "it.yaml:2 is no YAML"),
        ("\x00", "it.yaml.* is no YAML"),
        ("[]", "does not say `version: 1`"),
        ("version: 2", "does not say `version: 1`"),
        ("version: 1\nexchanges: [{ask: complete}]", "each of its exchanges has ask and request"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(path: Path, text: str, what: str) -> None:
    with pytest.raises(RecordingError, match=what):
        Recordings(written(path, text))


@pytest.mark.parametrize(
    ("came", "what"),
    [
        ("answer: 5", "expected a mapping, not a int"),
        ("answer: {content: x}", "no LLMResponse: .*missing required field `model`"),
        ("answer: {content: x, model: m, finish_reason: stop, usage: {input_tokens: x}}", "Usage"),
        ("error: {type: Exception}", "the name of a class of orchestify.errors"),
        ("nothing: 1", "an exchange has an answer, an error or ended"),
    ],
)
async def test_an_exchange_that_was_edited_wrongly_is_told_at_its_line(
    path: Path, came: str, what: str
) -> None:
    asked = "request: {model: m, messages: [{role: user, content: hi}]}"
    whole = f"version: 1\nexchanges:\n- {{ask: complete, provider: it, {asked}, {came}}}"
    lane = lane_on(written(path, whole))
    with pytest.raises(RecordingError, match=rf"it.yaml:3: .*{what}"):
        await lane.send(request("hi"))


async def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    lane = Scripted()
    with pytest.raises(RecordingError, match="cannot be written: "):
        await lane_on(tmp_path / "file" / "it.yaml", lane).send(request("hi"))
    assert lane.asked == 0


def test_a_file_is_named_after_its_test_and_where_that_is(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "recordings"
    module = tmp_path / "tests" / "unit" / "test_a.py"
    assert file_of(folder, module, "Class.test_b[x-1]") == (
        folder / "unit" / "test_a" / "Class.test_b[x-1].yaml"
    )
    assert file_of(folder, tmp_path / "else" / "test_a.py", "test_b") == (
        folder / "test_a" / "test_b.yaml"
    )
    odd, other = (file_of(folder, module, name).name for name in ("t[a/b]", "t[a:b]"))
    assert (odd, other) == ("t[a_b]-d038f63b.yaml", "t[a_b]-75932d01.yaml")
    assert len(file_of(folder, module, "t" * 500).name) < 120


def test_a_recording_is_one_object_throughout_a_test(tmp_path: Path) -> None:
    first = opened(tmp_path / "a.yaml")
    assert opened(str(tmp_path / "a.yaml")) is first
    assert opened(first) is first
    assert opened(tmp_path / "b.yaml") is not first
    assert opened(tmp_path).path.parent.name == "test_recordings"
