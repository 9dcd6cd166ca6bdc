"""`orchestify batch run` over the stub server: what is asked, shown, kept, and gone on with."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestify.batches.answer_file import Tally
from orchestify.cli import cli
from orchestify.cli.batch_run import progress_line
from orchestify.testing import Reply, StubRequest, StubServer
from tests.ledgers import sqlite_rows
from tests.signals import with_interrupts

CONFIG = """\
providers:
  gpt:
    type: openai
    base_url: {url}
    api_key: made-up-key-0123456789
    default_model: stub
    price: {{input_usd_per_mtok: 100, output_usd_per_mtok: 100}}
  locked: {{type: openai, base_url: {url}, api_key: wrong-key, default_model: stub}}
agents:
  reviewer: {{provider: gpt, max_tokens: 100}}
  locked: {{provider: locked}}
retry: {{max_attempts: 1}}
"""
WITHIN_S = 60


class Asked:
    """How often the server was asked each prompt.

    Until it is open, prompts that begin with `slow` and those behind the first `most` wait.
    """

    def __init__(self) -> None:
        self.prompts: Counter[str] = Counter()
        self.is_open = threading.Event()
        self.most = 1_000_000
        self.replies: dict[str, Reply] = {}

    async def respond(self, request: StubRequest) -> Reply:
        prompt = request.body["messages"][-1]["content"]
        self.prompts[prompt] += 1
        waits = prompt.startswith("slow") or self.prompts.total() > self.most
        while waits and not self.is_open.is_set():  # noqa: ASYNC110 - a thread opens it
            await asyncio.sleep(0.01)
        return self.replies.get(prompt, Reply(text=f"answer to {prompt}"))


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture
def asked(server: StubServer) -> Asked:
    asked = Asked()
    server.respond = asked.respond
    return asked


@pytest.fixture
def folder(tmp_path: Path, server: StubServer, asked: Asked) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG.format(url=server.openai_url))
    return tmp_path


def command(
    folder: Path, *more: str, requests: str = "in.txt", agent: str = "reviewer"
) -> list[str]:
    answers = ["-o", str(folder / "out.jsonl"), "--config", str(folder / "config.yaml")]
    return ["batch", "run", str(folder / requests), *answers, "--agent", agent, *more]


def run(folder: Path, *more: str, requests: str = "in.txt", agent: str = "reviewer") -> Result:
    return CliRunner().invoke(cli, command(folder, *more, requests=requests, agent=agent))


def told(result: Result, folder: Path) -> list[str]:
    return result.stderr.replace(f"{folder}/", "").splitlines()


def lines(folder: Path) -> dict[str, str]:
    """What became of each request: the answer's text, or the error's code."""
    found = {}
    for line in (folder / "out.jsonl").read_text().splitlines():
        answer = json.loads(line)
        assert answer["custom_id"] not in found
        if answer["error"]:
            found[answer["custom_id"]] = answer["error"]["code"]
        else:
            message = answer["response"]["body"]["choices"][0]["message"]
            found[answer["custom_id"]] = message["content"]
    return found


class TestRun:
    def test_plain_prompts_are_answered_and_a_second_run_asks_nothing(
        self, folder: Path, asked: Asked
    ) -> None:
        (folder / "in.txt").write_text("one\ntwo\nthree\n")
        asked.replies = {"one": Reply(text="a b c d")}
        first, second = run(folder), run(folder)
        assert (first.exit_code, second.exit_code, first.stdout) == (0, 0, "")
        assert asked.prompts == {"one": 1, "two": 1, "three": 1}
        assert lines(folder) == {
            "request-1": "a b c d",
            "request-2": "answer to two",
            "request-3": "answer to three",
        }
        (line,) = told(first, folder)
        assert line.startswith("out.jsonl: 3 of 3 requests answered | ")
        assert " in, " in line
        assert line.split(" | ")[-1].startswith("$0.00")
        assert told(second, folder) == [line]
        assert sorted(path.name for path in folder.iterdir()) == [
            "config.yaml",
            "in.txt",
            "out.jsonl",
        ]

    def test_openais_batch_form_goes_out_as_it_is_meant(
        self, folder: Path, server: StubServer
    ) -> None:
        body = {
            "model": "stub-large",
            "messages": [{"role": "user", "content": "hi"}],
            "max_completion_tokens": 7,
            "user": "u1",
            "metadata": {"task": "t1"},
        }
        form = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
        (folder / "in.jsonl").write_text(json.dumps(form))
        assert run(folder, requests="in.jsonl").exit_code == 0
        sent = server.requests[-1].body
        assert (sent["model"], sent["user"], sent["max_tokens"]) == ("stub-large", "u1", 7)
        answer = json.loads((folder / "out.jsonl").read_text())
        assert answer["custom_id"] == "a"
        assert answer["response"]["status_code"] == 200
        assert answer["response"]["body"]["model"] == "stub-large"
        assert run(folder, "--model", "stub-small", requests="in.jsonl").exit_code == 1

    def test_a_model_and_a_system_prompt_hold_for_all(
        self, folder: Path, server: StubServer
    ) -> None:
        (folder / "in.jsonl").write_text('{"prompt": "hi", "model": "stub-large"}')
        given = ("--model", "stub-small", "--system", "Be brief.")
        assert run(folder, *given, requests="in.jsonl").exit_code == 0
        sent = server.requests[-1].body
        assert sent["model"] == "stub-small"
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}

    def test_failures_are_told_and_asked_again_where_it_is_said(
        self, folder: Path, asked: Asked
    ) -> None:
        (folder / "in.txt").write_text("one\ntwo\n")
        asked.replies = {"two": Reply(status=400)}
        result = run(folder)
        assert result.exit_code == 1
        assert told(result, folder)[0].startswith("out.jsonl: 1 of 2 requests answered | 1 failed")
        assert told(result, folder)[1] == "note: --retry-failed asks again what has failed"
        assert lines(folder)["request-2"] == "InvalidRequestError"
        assert run(folder).exit_code == 1
        asked.replies = {}
        assert run(folder, "--retry-failed").exit_code == 0
        assert asked.prompts == {"one": 1, "two": 2}

    def test_a_wrong_key_is_told_once_and_nothing_has_failed(self, folder: Path) -> None:
        (folder / "in.txt").write_text("\n".join(map(str, range(200))))
        result = run(folder, agent="locked")
        assert result.exit_code == 1
        first, error, last = told(result, folder)[-3:]
        assert first.startswith("out.jsonl: 0 of 200 requests answered | 0 in, 0 out")
        assert error.startswith("Error: AuthenticationError: locked/stub: ")
        assert last == "Stopped; the same command goes on from here."
        assert (folder / "out.jsonl").read_text() == ""

    def test_a_spent_budget_stops_it_and_it_goes_on_once_there_is_more(
        self, folder: Path, asked: Asked
    ) -> None:
        config = (folder / "config.yaml").read_text()
        config += "ledger: {url: 'sqlite:///u.db'}\n"
        budget = "budgets: [{{name: day, limit_usd: {}, period: day}}]\n"
        (folder / "in.txt").write_text("\n".join(map(str, range(40))))
        (folder / "config.yaml").write_text(config + budget.format(0.03))
        result = run(folder)
        assert result.exit_code == 1
        assert told(result, folder)[1].startswith("Error: BudgetExceededError: budget day: ")
        assert 0 < len(lines(folder)) < 40
        assert set(lines(folder).values()) == {f"answer to {n}" for n in asked.prompts}
        (folder / "config.yaml").write_text(config + budget.format(5))
        assert run(folder).exit_code == 0
        assert asked.prompts == Counter(map(str, range(40)))
        assert len(lines(folder)) == 40

    def test_lines_that_cannot_be_asked_are_all_told_before_anything_is_sent(
        self, folder: Path, asked: Asked
    ) -> None:
        (folder / "in.jsonl").write_text('"good"\n{"promt": "x"}\n{\n')
        result = run(folder, requests="in.jsonl")
        assert result.exit_code == 1
        assert told(result, folder) == [
            "Error: BatchFileError: in.jsonl has 2 lines that cannot be asked; nothing was sent",
            "  in.jsonl:2: it has no messages; give messages, a prompt, or OpenAI's body",
            "  in.jsonl:3: the line is no JSON; a file of plain prompts is named .txt",
        ]
        assert asked.prompts == {}
        assert not (folder / "out.jsonl").exists()

    def test_an_agent_that_is_not_there_is_a_usage_error(self, folder: Path) -> None:
        (folder / "in.txt").write_text("one")
        result = run(folder, agent="reviewr")
        assert result.exit_code == 2
        assert "agent 'reviewr' is not configured; did you mean 'reviewer'?" in result.stderr

    def test_answers_to_other_requests_are_left_alone(self, folder: Path) -> None:
        (folder / "in.txt").write_text("one")
        assert run(folder).exit_code == 0
        before = (folder / "out.jsonl").read_text()
        (folder / "in.txt").write_text("two")
        result = run(folder)
        assert result.exit_code == 1
        assert "out.jsonl:1: this is of another request than the one in that place" in result.stderr
        assert (folder / "out.jsonl").read_text() == before


def started(folder: Path, *more: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-m", "orchestify", *command(folder, *more)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm-256color"},
        preexec_fn=with_interrupts,  # noqa: PLW1509 - it sets signals, no more
    )


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class TestInterrupts:
    @pytest.mark.parametrize("told_to", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_waits_for_what_is_under_way(
        self, folder: Path, asked: Asked, told_to: signal.Signals
    ) -> None:
        (folder / "in.txt").write_text("one\nslow 1\nslow 2\nthree\nfour\n")
        with started(folder, "--concurrency", "2") as process:
            wait_until(lambda: asked.prompts["slow 1"] + asked.prompts["slow 2"] == 2)
            process.send_signal(told_to)
            time.sleep(0.2)
            asked.is_open.set()
            _, stderr = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 130
        assert "3 of 5 requests answered" in stderr
        assert "Traceback" not in stderr
        assert lines(folder).keys() == {"request-1", "request-2", "request-3"}
        assert not (folder / "out.jsonl.journal").exists()
        assert run(folder).exit_code == 0
        assert set(asked.prompts.values()) == {1}
        assert len(lines(folder)) == 5

    def test_the_second_gives_it_up_and_it_is_asked_again_only_where_it_is_said(
        self, folder: Path, asked: Asked
    ) -> None:
        (folder / "in.txt").write_text("one\nslow 1\nslow 2\nthree\n")
        with started(folder, "--concurrency", "2") as process:
            wait_until(lambda: asked.prompts["slow 1"] + asked.prompts["slow 2"] == 2)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 130
        assert "1 of 4 requests answered" in stderr
        assert "Traceback" not in stderr
        asked.is_open.set()
        result = run(folder)
        assert result.exit_code == 1
        assert "2 of 4 requests answered | 2 unknown" in result.stderr
        assert "--retry-unknown asks it again" in result.stderr
        assert set(asked.prompts.values()) == {1}
        assert run(folder, "--retry-unknown").exit_code == 0
        assert asked.prompts == {"one": 1, "slow 1": 2, "slow 2": 2, "three": 1}

    def test_one_that_is_killed_again_and_again_asks_nothing_twice(
        self, folder: Path, asked: Asked, server: StubServer
    ) -> None:
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(config + "ledger: {url: 'sqlite:///u.db'}\n")
        (folder / "in.txt").write_text("\n".join(f"prompt {number}" for number in range(100)))
        for _ in range(3):
            asked.most = server.account.received + 12
            with started(folder, "--concurrency", "5") as process:
                wait_until(lambda: server.account.received == asked.most + 5)
                process.kill()
        asked.is_open.set()
        result = run(folder)
        assert result.exit_code == 1
        found = Counter(lines(folder).values())
        assert found["UnknownOutcome"] == 3 * 5
        assert found.total() == 100
        assert asked.prompts == Counter(f"prompt {number}" for number in range(100))
        (booked,) = sqlite_rows(folder / "u.db", "SELECT count(*) FROM usage_records")[0]
        assert booked == server.account.received == 100


class TestShown:
    def test_a_terminal_has_a_bar_and_a_pipe_has_not(self, folder: Path, asked: Asked) -> None:
        (folder / "in.txt").write_text("one\nslow 1\nthree\n")
        leader, follower = pty.openpty()
        with started(folder, "--concurrency", "1", stderr=follower) as process:
            os.close(follower)
            seen = read_until(leader, b"1 of 3")
            asked.is_open.set()
            while piece := _read(leader):
                seen += piece
            process.communicate(timeout=WITHIN_S)
        os.close(leader)
        assert process.returncode == 0
        assert b"tokens" in seen
        assert b"at the end" in seen
        assert b"left" in seen
        assert b"3 of 3 requests answered" in seen

    def test_an_interrupt_is_told_on_the_terminal(self, folder: Path, asked: Asked) -> None:
        (folder / "in.txt").write_text("slow 1\ntwo\n")
        leader, follower = pty.openpty()
        with started(folder, "--concurrency", "1", stderr=follower) as process:
            os.close(follower)
            wait_until(lambda: asked.prompts["slow 1"] == 1)
            process.send_signal(signal.SIGINT)
            read_until(leader, b"waiting for 1 request (Ctrl-C ends it)")
            asked.is_open.set()
            while _read(leader):
                pass
            process.communicate(timeout=WITHIN_S)
        os.close(leader)
        assert process.returncode == 130

    def test_the_line_tells_what_has_ended_and_what_the_rest_takes(self) -> None:
        tally = Tally(10_000, answered=4_000, failed=3, input_tokens=800_000, output_tokens=12_345)
        assert progress_line(tally, None) == "4,003 of 10,000 | 3 failed | 812k tokens | $0.00"
        tally.cost_usd += 2
        assert progress_line(tally, 3_725.4) == (
            "4,003 of 10,000 | 3 failed | 812k tokens | $2.00 | about $5.00 at the end | "
            "1:02:05 left"
        )
        tally.unpriced = 7
        assert "$2.00 and 7 answers of unknown cost | about" in progress_line(tally, 65)
        assert progress_line(tally, 65).endswith("1:05 left")


def read_until(terminal: int, wanted: bytes) -> bytes:
    """Read what a terminal is sent until that is there."""
    seen, end = b"", time.monotonic() + WITHIN_S
    while wanted not in seen:
        assert time.monotonic() < end
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    return seen


def _read(terminal: int) -> bytes:
    """What a terminal was sent, nothing once nobody writes there any more."""
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's way to say so
        return b""
