"""A process is killed at every step of a change of the vault; no key is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ledgers import ROOT
from tests.vaults import KINDS, place

WORKER = [sys.executable, "-m", "tests.integration.vault_worker"]
SERVICE: dict[str, dict[str, str]] = {
    "file": {},
    "sqlite": {"p1": "sk-provider", "a1": "sk-agent"},
    "postgres": {"p1": "sk-provider", "a1": "sk-agent"},
}
SOME_STEPS = {
    "file": ["open .lock", "open .new", "write", "fsync", "replace", "open", "end"],
    "sqlite": ["UPDATE vault_keys SET ciphertext=?", "commit", "end"],
    "postgres": ["LOCK TABLE vault_keys", "UPDATE vault_keys SET", "commit", "end"],
}


def deaths(kind: str, folder: Path, action: str) -> list[tuple[str, dict[str, Any]]]:
    """Each death's step, and what was readable after it."""
    with place(kind, folder) as where:
        done = subprocess.run(  # noqa: S603 - our own code
            [*WORKER, kind, where, action], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [(step, json.loads(told)) for step, told in lines]


def steps_not_met(kind: str, found: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [
        wanted
        for wanted in SOME_STEPS[kind]
        if not any(step.startswith(wanted) for step, _ in found)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_that_is_killed_loses_nothing_and_is_completed(
    kind: str, tmp_path: Path
) -> None:
    found = deaths(kind, tmp_path, "rotate")
    whole = {"a": "sk-a", "b": "sk-b", **SERVICE[kind]}
    assert steps_not_met(kind, found) == []
    assert [told for _, told in found] == [{"now": whole, "then": whole}] * len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_whose_setting_is_killed_is_the_old_or_the_new_one(kind: str, tmp_path: Path) -> None:
    found = deaths(kind, tmp_path, "set")
    old = {"a": "sk-a", "b": "sk-b", **SERVICE[kind]}
    new = {**old, "b": "sk-b-new"}
    assert steps_not_met(kind, found) == []
    assert [told["now"] for _, told in found if told["now"] not in (old, new)] == []
    assert (found[0][1]["now"], found[-1][1]["now"]) == (old, new)
    assert [told["then"] for _, told in found] == [new] * len(found)
