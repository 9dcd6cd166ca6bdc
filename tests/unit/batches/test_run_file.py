"""A run over a file: what is asked, what is kept, and what ends it early."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from orchestify.batches.run_file import FileRun, FileRunOptions
from orchestify.errors import (
    AllTargetsFailedError,
    AuthenticationError,
    BatchFileError,
    BudgetExceededError,
    InvalidRequestError,
    OrchestifyError,
    RateLimitError,
)
from orchestify.values import LLMMessage, LLMResponse, Usage
from tests.ledgers import until
from tests.unit.batches.test_answer_file import FullDisk

BUDGET = BudgetExceededError("no room")


class Agent:
    """Answers a prompt with itself, or raises what stands for it; waits at a prompt's gate."""

    def __init__(self, errors: dict[str, OrchestifyError] | None = None) -> None:
        self.errors = errors or {}
        self.gates: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        self.arguments: list[dict[str, Any]] = []

    async def complete(self, messages: Any, **arguments: Any) -> LLMResponse:
        text = messages if isinstance(messages, str) else messages[-1].text
        self.asked.append(text)
        self.arguments.append({"messages": messages, **arguments})
        if text in self.gates:
            await self.gates[text].wait()
        if text in self.errors:
            raise self.errors[text]
        return LLMResponse(text, "m", 3, 2, "stop", usage=Usage(3, 2), call_id=f"call-{text}")


def made(folder: Path, prompts: str, files: Any = None, **options: Any) -> FileRun:
    """A run over a file with a prompt for each letter, its files open."""
    (folder / "in.txt").write_text("\n".join(prompts))
    extra = {} if files is None else {"files": files}
    given = FileRunOptions(**{"concurrency": 2, **options})
    run = FileRun(folder / "in.txt", folder / "out.jsonl", "it", given, **extra)
    run.open()
    return run


def lines(folder: Path) -> dict[str, str]:
    """What became of each request: the answer's text, or the error's code."""
    told = {}
    for line in (folder / "out.jsonl").read_text().splitlines():
        answer = json.loads(line)
        if answer["error"] is None:
            text = answer["response"]["body"]["choices"][0]["message"]["content"]
        else:
            text = answer["error"]["code"]
        told[answer["custom_id"]] = text
    return told


async def test_what_has_ended_is_not_asked_again(tmp_path: Path) -> None:
    agent = Agent({"b": InvalidRequestError()})
    await made(tmp_path, "abc").ask(agent.complete)
    run = made(tmp_path, "abcd")
    await run.ask(agent.complete)
    assert agent.asked == ["a", "b", "c", "d"]
    assert lines(tmp_path) == {
        "request-1": "a",
        "request-2": "InvalidRequestError",
        "request-3": "c",
        "request-4": "d",
    }
    assert (run.tally.answered, run.tally.failed, run.tally.input_tokens) == (3, 1, 9)
    assert run.tally.unpriced == 3


async def test_what_has_failed_is_asked_again_where_it_is_said(tmp_path: Path) -> None:
    await made(tmp_path, "ab").ask(Agent({"b": InvalidRequestError()}).complete)
    agent = Agent()
    await made(tmp_path, "ab", retry_failed=True).ask(agent.complete)
    assert agent.asked == ["b"]
    assert lines(tmp_path) == {"request-1": "a", "request-2": "b"}


async def test_another_agent_model_or_input_has_a_file_of_its_own(tmp_path: Path) -> None:
    await made(tmp_path, "ab").ask(Agent().complete)
    for prompts, options in [
        ("ab", {"model": "m"}),
        ("ab", {"system": "s"}),
        ("xb", {}),
        ("a", {}),
    ]:
        with pytest.raises(BatchFileError, match="is of another request than the one in that"):
            made(tmp_path, prompts, **options)


async def test_a_model_and_a_system_prompt_hold_for_all(tmp_path: Path) -> None:
    agent = Agent()
    await made(tmp_path, "a", model="m", system="s").ask(agent.complete)
    messages = (LLMMessage("system", "s"), LLMMessage("user", "a"))
    assert agent.arguments == [{"messages": messages, "model": "m"}]


@pytest.mark.parametrize(
    "error",
    [AuthenticationError(), BUDGET, AllTargetsFailedError("all", [AuthenticationError(), BUDGET])],
)
async def test_what_fails_for_all_stops_it_and_leaves_them_open(
    tmp_path: Path, error: OrchestifyError
) -> None:
    agent = Agent(dict.fromkeys("bcdefgh", error))
    run = made(tmp_path, "abcdefgh")
    await run.ask(agent.complete)
    assert run.stopped_by is error
    assert len(agent.asked) <= 7
    assert lines(tmp_path) == {"request-1": "a"}
    assert not (tmp_path / "out.jsonl.journal").exists()
    await made(tmp_path, "abcdefgh").ask(Agent().complete)
    assert list(lines(tmp_path).values()) == list("abcdefgh")


async def test_what_is_refused_while_later_ones_pass_has_failed(tmp_path: Path) -> None:
    run = made(tmp_path, "abcdef", concurrency=4)
    await run.ask(Agent({"b": BUDGET}).complete)
    assert run.stopped_by is None
    assert lines(tmp_path)["request-2"] == "BudgetExceededError"
    assert run.tally.failed == 1


async def test_an_answer_that_was_asked_before_says_nothing_of_what_fails_now(
    tmp_path: Path,
) -> None:
    agent = Agent(dict.fromkeys("bcdef", BUDGET))
    agent.gates["a"] = asyncio.Event()
    run = made(tmp_path, "abcdefgh")
    asking = asyncio.create_task(run.ask(agent.complete))
    await until(lambda: run.has_stopped)
    agent.gates["a"].set()
    await asking
    assert run.stopped_by is BUDGET
    assert lines(tmp_path) == {"request-1": "a"}
    assert agent.asked == list("abcdef")


async def test_the_last_one_that_fails_for_all_stays_open(tmp_path: Path) -> None:
    run = made(tmp_path, "ab")
    await run.ask(Agent({"b": BUDGET}).complete)
    assert run.stopped_by is BUDGET
    assert lines(tmp_path) == {"request-1": "a"}


async def test_one_that_is_always_refused_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    run = made(tmp_path, "abcd", concurrency=1)
    await run.ask(Agent({"a": BUDGET}).complete)
    assert run.stopped_by is None
    assert (run.tally.failed, run.tally.answered) == (1, 3)


async def test_what_fails_for_itself_does_not_stop_it(tmp_path: Path) -> None:
    agent = Agent(dict.fromkeys("abcdefg", RateLimitError()))
    run = made(tmp_path, "abcdefgh")
    await run.ask(agent.complete)
    assert run.stopped_by is None
    assert (run.tally.failed, run.tally.answered) == (7, 1)


async def test_stopping_waits_for_what_is_under_way(tmp_path: Path) -> None:
    agent = Agent()
    agent.gates["a"] = agent.gates["b"] = asyncio.Event()
    run = made(tmp_path, "abcd")
    asking = asyncio.create_task(run.ask(agent.complete))
    await until(lambda: agent.asked == ["a", "b"])
    run.stop()
    assert run.under_way == 2
    agent.gates["a"].set()
    await asking
    assert lines(tmp_path) == {"request-1": "a", "request-2": "b"}
    assert not (tmp_path / "out.jsonl.journal").exists()


async def test_what_is_cancelled_may_have_been_sent(tmp_path: Path) -> None:
    agent = Agent()
    agent.gates["b"] = asyncio.Event()
    asking = asyncio.create_task(made(tmp_path, "abc", concurrency=1).ask(agent.complete))
    await until(lambda: agent.asked == ["a", "b"])
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    again = Agent()
    run = made(tmp_path, "abc")
    assert run.tally.unknown == 1
    await run.ask(again.complete)
    assert again.asked == ["c"]
    assert lines(tmp_path)["request-2"] == "UnknownOutcome"
    await made(tmp_path, "abc", retry_unknown=True).ask(again.complete)
    assert again.asked == ["c", "b"]
    assert lines(tmp_path) == {"request-1": "a", "request-2": "b", "request-3": "c"}


async def test_an_answer_that_does_not_fit_is_written_once_there_is_room(tmp_path: Path) -> None:
    disk, agent = FullDisk(room=200), Agent()
    agent.gates["b"] = asyncio.Event()
    run = made(tmp_path, "abcd", files=disk)
    asking = asyncio.create_task(run.ask(agent.complete))
    await until(lambda: run.has_stopped)
    disk.room = 10_000
    agent.gates["b"].set()
    await asking
    assert "No space left on device" in str(run.stopped_by)
    assert sorted(lines(tmp_path).values()) == ["a", "b"]
    assert agent.asked == ["a", "b"]


async def test_one_that_never_fits_is_told_and_unknown_to_the_next_run(tmp_path: Path) -> None:
    agent = Agent()
    run = made(tmp_path, "abcd", files=FullDisk(room=200))
    with pytest.raises(BatchFileError, match="2 answers that may have been paid for are lost"):
        await run.ask(agent.complete)
    assert len(agent.asked) == 2
    assert made(tmp_path, "abcd").tally.unknown == 2


async def test_a_full_disk_before_anything_is_sent_sends_nothing(tmp_path: Path) -> None:
    agent = Agent()
    with pytest.raises(BatchFileError, match="No space left on device"):
        await made(tmp_path, "abcd", files=FullDisk(room=0)).ask(agent.complete)
    assert agent.asked == []


async def test_requests_that_change_meanwhile_end_it_after_what_is_under_way(
    tmp_path: Path,
) -> None:
    run = made(tmp_path, "abcd", concurrency=1)
    (tmp_path / "in.txt").write_text("a\nb\nx\nd")
    with pytest.raises(BatchFileError, match="was changed while its requests were asked"):
        await run.ask(Agent({"b": BUDGET}).complete)
    assert lines(tmp_path) == {"request-1": "a"}
    assert not (tmp_path / "out.jsonl.journal").exists()


async def test_a_request_more_takes_no_more_memory_than_its_digest(tmp_path: Path) -> None:
    await peak_bytes(tmp_path / "warm.txt", 100)
    few = await peak_bytes(tmp_path / "few.txt", 500)
    many = await peak_bytes(tmp_path / "many.txt", 4_500)
    assert (many - few) / 4_000 < 100  # a prompt here has 250 bytes, and its line of answers 900


async def peak_bytes(path: Path, many: int) -> int:
    """What a run over so many prompts holds at most."""
    write_prompts(path, many)
    agent = Agent()
    agent.asked = agent.arguments = Nothing()  # type: ignore[assignment]
    tracemalloc.start()
    run = FileRun(path, path.with_suffix(".jsonl"), "it", FileRunOptions())
    run.open()
    await run.ask(agent.complete)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert run.tally.answered == many
    return found


def write_prompts(path: Path, many: int) -> None:
    path.write_text("\n".join(f"{number} " * 50 for number in range(many)))


class Nothing:
    """A list that keeps nothing."""

    def append(self, _: object) -> None:
        """Forget it."""
