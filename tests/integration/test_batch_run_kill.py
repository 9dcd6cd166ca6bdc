"""A run over a file is killed at every step: nothing is asked twice, nothing is lost.

What may have been sent and has no answer is told as unknown, and asked again only where it is said.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from orchestify.testing import Reply, StubRequest, StubServer
from tests.ledgers import ROOT

WORKER = [sys.executable, "-m", "tests.integration.batch_run_worker"]
ANSWERED = ["answered"]
UNKNOWN = ["UnknownOutcome"]
FAILED = ["InvalidRequestError"]
STEPS = {"open .journal", "open .jsonl", "send", "answered", "fsync", "unlink"}
REWRITING = {"ftruncate", "open .new", "replace"}


class Death(NamedTuple):
    """One death: the step before which it came, and each request's lines then and later."""

    step: str
    then: dict[str, list[str]]
    resumed: dict[str, list[str]]
    retried: dict[str, list[str]]
    left: list[str]


class Deaths(NamedTuple):
    """All deaths of one action, and how often the server was asked each prompt."""

    all: list[Death]
    asked: Counter[str]


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer.in_thread(StubServer(history=1_000_000)) as server:
        yield server


def deaths(server: StubServer, folder: Path, action: str) -> Deaths:
    asked: Counter[str] = Counter()

    def respond(request: StubRequest) -> Reply:
        prompt = request.body["messages"][0]["content"]
        asked[prompt] += 1
        fails = prompt.startswith("again") and prompt.endswith("b") and asked[prompt] == 1
        return Reply(status=400 if fails else 200)

    server.respond = respond
    done = subprocess.run(  # noqa: S603 - our own code
        [*WORKER, str(server.port), str(folder), action],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: list[dict[str, Any]] = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    return Deaths([Death(each["step"], *each["then"], each["left"]) for each in told], asked)


def test_a_first_run_that_is_killed_goes_on_and_asks_nothing_twice(
    server: StubServer, tmp_path: Path
) -> None:
    found = deaths(server, tmp_path, "ask")
    assert len(found.all) == 28  # 4 requests with 6 steps each, and those around them
    assert {death.step for death in found.all} >= STEPS
    unknown = Counter[int]()
    for number, death in enumerate(found.all):
        for name in "abcd":
            assert death.then[name] in ([], ANSWERED)
            assert death.resumed[name] in (ANSWERED, UNKNOWN)
            assert death.retried[name] == ANSWERED
            times = found.asked[f"ask {number} {name}"]
            assert 1 <= times <= 1 + (death.resumed[name] == UNKNOWN)
        unknown[list(death.resumed.values()).count(UNKNOWN)] += 1
        assert death.left == ["in.jsonl", "out.jsonl", "step"]
    assert unknown.keys() == {0, 1, 2}  # at most as many as were under way


def test_so_does_one_that_asks_again_what_failed_and_what_may_have_been_sent(
    server: StubServer, tmp_path: Path
) -> None:
    found = deaths(server, tmp_path, "again")
    assert len(found.all) == 38
    assert {death.step for death in found.all} >= STEPS | REWRITING
    for number, death in enumerate(found.all):
        assert death.then["a"] == death.resumed["a"] == death.retried["a"] == ANSWERED
        assert found.asked[f"again {number} a"] == 1
        assert death.then["b"] in (FAILED, [], ANSWERED)
        assert death.resumed["b"] in (FAILED, ANSWERED, UNKNOWN)
        assert found.asked[f"again {number} b"] <= 2 + (death.resumed["b"] == UNKNOWN)
        assert death.then["c"] in (UNKNOWN, [], ANSWERED)
        assert death.resumed["c"] in (ANSWERED, UNKNOWN)
        assert found.asked[f"again {number} c"] <= 2 + (death.resumed["c"] == UNKNOWN)
        assert death.resumed["d"] in (ANSWERED, UNKNOWN)
        assert found.asked[f"again {number} d"] <= 1 + (death.resumed["d"] == UNKNOWN)
        assert list(death.retried.values()) == [ANSWERED] * 4
        assert death.left == ["in.jsonl", "out.jsonl", "step"]
