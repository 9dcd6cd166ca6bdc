"""Dies at every step of a run over a file: `batch_run_worker.py PORT FOLDER ACTION`.

Before step 0, 1, 2... a forked child ends itself with SIGKILL, each time over files of its own:
4 requests to the stub server at PORT, 2 at once, whose prompts name the death. ACTION `ask` dies in
a first run; `again` in one that asks again what has failed and what may have been sent, after a
first run was killed while it sent `c` and had failed at `b`. Writes a line of JSON for each death:
the step, and what was in the answers when it had died, after the same command had been run again,
and after another one with both retries.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from orchestify.batches.run_file import FileRun, FileRunOptions
from orchestify.testing import StubServer
from orchestify.values import LLMResponse
from tests.integration.vault_worker import in_child
from tests.registries import registry_on

MOST_STEPS = 300
NAMES = "abcd"
ALONE = FileRunOptions(concurrency=1)
ONCE = FileRunOptions(concurrency=2)
RETRYING = FileRunOptions(concurrency=2, retry_failed=True, retry_unknown=True)


@dataclass
class Steps:
    """Counts steps, and kills the process before one of them, which it writes down; -1: never."""

    last: int
    told: Path
    taken: int = 0

    def take(self, name: str) -> None:
        if self.taken == self.last:
            self.told.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken += 1


class DyingFiles:
    """The calls of `os`, each a step; a line is written in two, and the first writes one half.

    What a process has written outlives it, so that nothing waits for the disk.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._steps.take(f"open {path.suffix}")
        return os.open(path, flags, mode)

    def write(self, fd: int, content: bytes) -> int:
        is_whole = content.startswith((b"sent ", b"unsent ", b'{"index"'))
        self._steps.take(f"write {content[:9].decode() if is_whole else 'the rest'}")
        return os.write(fd, content[: len(content) // 2] if is_whole else content)

    def ftruncate(self, fd: int, length: int) -> None:
        self._steps.take("ftruncate")
        os.ftruncate(fd, length)

    def fsync(self, _: int) -> None:
        self._steps.take("fsync")

    def replace(self, source: Path, target: Path) -> None:
        self._steps.take("replace")
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        self._steps.take("unlink")
        os.unlink(path)


def run(port: int, folder: Path, options: FileRunOptions, last: int = -1, at: str = "") -> None:
    """Run over the folder's files, and die before step `last`, or once `at` is answered.

    Sending and its answer are steps, too.
    """
    steps = Steps(last, folder / "step")
    files = DyingFiles(steps)
    file_run = FileRun(folder / "in.jsonl", folder / "out.jsonl", "it", options, files)
    file_run.open()

    async def ask() -> None:
        async with registry_on(StubServer(port=port), {"a": {}}, {"it": {"provider": "a"}}) as all_:
            agent = all_.get_for_agent("it")

            async def complete(**arguments: Any) -> LLMResponse:
                steps.take("send")
                response = await agent.complete(**arguments)
                steps.take("answered")
                if at and at in arguments["messages"]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return response

            await file_run.ask(complete)

    asyncio.run(ask())


def found(folder: Path) -> dict[str, list[str]]:
    """What each whole line of the answers says, by request."""
    told: dict[str, list[str]] = {name: [] for name in NAMES}
    path = folder / "out.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for line in map(json.loads, lines):
        told[line["custom_id"]].append(line["error"]["code"] if line["error"] else "answered")
    return told


def has_died(work: Callable[[], None]) -> bool:
    """Do it in a process of its own; whether that killed itself."""
    status = in_child(work)
    if status not in (0, signal.SIGKILL):
        sys.exit(f"a child ended with {status}")
    return status != 0


def main(port: int, where: Path, action: str) -> None:
    options = ONCE if action == "ask" else RETRYING
    warm = where / action
    warm.mkdir()
    (warm / "in.jsonl").write_text('"warm"')
    run(port, warm, ONCE)  # what a run imports is imported before the children are forked
    gc.freeze()  # so that no child copies what it shares
    for step in range(MOST_STEPS):
        folder = where / f"{action}-{step}"
        folder.mkdir()
        lines = [{"custom_id": name, "prompt": f"{action} {step} {name}"} for name in NAMES]
        (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if action == "again":
            assert has_died(partial(run, port, folder, ALONE, at=" c"))
        if not has_died(partial(run, port, folder, options, step)):
            return
        then = [found(folder)]
        for following in (ONCE, RETRYING):
            assert not has_died(partial(run, port, folder, following))
            then.append(found(folder))
        died_at = (folder / "step").read_text()
        left = sorted(path.name for path in folder.iterdir())
        sys.stdout.write(json.dumps({"step": died_at, "then": then, "left": left}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
