"""Dies at every step of a vault's change: `vault_worker.py KIND WHERE ACTION`.

Before step 0, 1, 2... of ACTION (`set` or `rotate`) a forked child ends itself with SIGKILL, each
time on a vault with two keys under the old encryption key. Writes a line for each death: the step,
a tab, and in JSON what was readable then with both encryption keys, and what was with the new one
alone after ACTION had been run again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Connection, Engine, delete, event

from orchestify.server.storage.tables import agent_llm_configs, llm_providers, tenants
from orchestify.vault import Vault
from orchestify.vault.database_store import vault_keys
from orchestify.vault.file_store import FileStore
from tests.vaults import (
    NEW,
    OLD,
    add_service,
    database_at,
    environ,
    make_service,
    secrets,
    service_secrets,
    vault_at,
)

MOST_STEPS = 200


@dataclass
class Steps:
    """Counts steps, and kills the process before one of them."""

    last: int
    taken: int = 0

    def take(self, name: str) -> None:
        if self.taken == self.last:
            sys.stdout.write(" ".join(name.split()) + "\t")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken += 1


class DyingFiles:
    """The calls of `os`, each a step; a write is two, and the first of them writes one half."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._steps.take(f"open {path.suffix}")
        return os.open(path, flags, mode)

    def write(self, fd: int, content: bytes) -> int:
        self._steps.take("write")
        return os.write(fd, content[: len(content) // 2 or 1])

    def fsync(self, fd: int) -> None:
        self._steps.take("fsync")
        os.fsync(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._steps.take("replace")
        os.replace(source, target)


def act(vault: Vault, action: str) -> None:
    """Set a key under the newest encryption key, or rotate."""
    if action == "set":
        vault.set("b", "sk-b-new")
    vault.rotate()


def die_in_file(where: str, action: str, step: int) -> None:
    steps = Steps(step)
    vault = Vault(FileStore(Path(where), DyingFiles(steps)), environ(NEW, OLD))
    act(vault, action)
    steps.take("end")


def die_in_database(where: str, action: str, step: int) -> None:
    steps = Steps(step)
    event.listen(Engine, "before_cursor_execute", lambda *given: steps.take(given[2][:40]))
    event.listen(Engine, "commit", lambda _: steps.take("commit"))
    with vault_at(where, NEW, OLD) as vault:
        act(vault, action)
    steps.take("end")


def in_child(work: Callable[[], None]) -> int:
    """Do it in a process of its own, and return how that ended, as `waitpid` says it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _exit_after(work)
    return os.waitpid(child, 0)[1]


def _exit_after(work: Callable[[], None]) -> NoReturn:
    try:
        work()
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def prepare(kind: str, where: str) -> None:
    """Make a vault with two keys under the old encryption key, and a service's rows beside it."""
    if kind == "file":
        Path(where).unlink(missing_ok=True)
    else:
        _clear(where)
        add_service(where, OLD, "sk-provider", "sk-agent")
    with vault_at(where, OLD) as vault:
        vault.add({"a": "sk-a", "b": "sk-b"})


def _clear(where: str) -> None:
    def empty(connection: Connection) -> None:
        for table in (agent_llm_configs, llm_providers, tenants, vault_keys):
            connection.execute(delete(table))

    with database_at(where) as database:
        database.run(empty)


def readable(kind: str, where: str, *keys: str) -> dict[str, str]:
    with vault_at(where, *keys) as vault:
        found = secrets(vault, "a", "b")
    return found if kind == "file" else {**found, **service_secrets(where, *keys)}


def main(kind: str, where: str, action: str) -> None:
    die = die_in_file if kind == "file" else die_in_database
    if kind != "file":
        make_service(where)
    for step in range(MOST_STEPS):
        prepare(kind, where)
        ended = in_child(lambda step=step: die(where, action, step))  # type: ignore[misc]
        if ended == 0:
            return
        if ended != signal.SIGKILL:
            sys.exit(f"step {step} failed")
        now = readable(kind, where, NEW, OLD)
        with vault_at(where, NEW, OLD) as vault:
            act(vault, action)
        then = readable(kind, where, NEW)
        sys.stdout.write(json.dumps({"now": now, "then": then}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
