"""pytest's plugin, in runs of its own: a host's tests, recorded and then answered from files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestify.testing import StubServer

KEY = "a-made-up-key-0123456789"
HOST = f"""\
import os

import pytest

from orchestify import ProviderRegistry

QUESTION = os.environ.get("QUESTION", "What is a river?")


def config():
    return {{
        "providers": {{
            "it": {{
                "type": "openai",
                "api_key": "{KEY}",
                "default_model": "stub",
                "base_url": os.environ["BASE_URL"],
            }}
        }}
    }}


async def ask(recordings, question):
    async with ProviderRegistry.from_config(config(), recordings=recordings) as registry:
        return (await registry.get("it").complete(question)).content


@pytest.mark.parametrize("kind", ["a/b", "c"])
async def test_with_the_fixture(recordings, kind):
    assert await ask(recordings, QUESTION)
    assert await ask(recordings, "same") and await ask(recordings, "same")  # two registries


async def test_in_a_folder(request):
    assert await ask(request.path.parent / "kept", QUESTION)


class TestInAClass:
    async def test_in_a_file(self, tmp_path_factory, request):
        assert await ask(str(request.path.parent / "kept" / "one.yaml"), QUESTION)
"""
USES_NOTHING = """\
import sys


def test_the_plugin_is_there_and_has_imported_nothing_of_ours(request):
    assert request.config.pluginmanager.hasplugin("orchestify")
    assert "orchestify" not in sys.modules
"""
FILES = [
    "kept/one.yaml",
    "kept/test_host/test_in_a_folder.yaml",
    "recordings/test_host/test_with_the_fixture[a_b]-26f1d589.yaml",
    "recordings/test_host/test_with_the_fixture[c].yaml",
]


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a host's tests as the host would."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", *arguments],
        cwd=folder,
        env={**os.environ, "BASE_URL": "http://127.0.0.1:9/v1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(name="host")
def host_(tmp_path: Path) -> Path:
    (tmp_path / "test_host.py").write_text(HOST)
    return tmp_path


def files_in(folder: Path) -> dict[str, str]:
    """Return the texts of the recordings in a folder by where they are."""
    found = sorted(folder.rglob("*.yaml"))
    return {each.relative_to(folder).as_posix(): each.read_text() for each in found}


def test_tests_are_recorded_once_and_then_answered_from_their_files(host: Path) -> None:
    with StubServer.in_thread() as server:
        done = run(host, BASE_URL=server.openai_url)
        assert done.returncode == 0, done.stdout
        assert len(server.requests) == 8
        kept = files_in(host)
        assert run(host, BASE_URL=server.openai_url).returncode == 0
        assert len(server.requests) == 8
    assert list(kept) == FILES
    assert KEY not in "".join(kept.values())
    done = run(host, "-n", "2", "--recordings=none")
    assert done.returncode == 0, done.stdout
    assert files_in(host) == kept


def test_with_none_an_unknown_request_fails_and_all_records_anew(host: Path) -> None:
    with StubServer.in_thread() as server:
        url = server.openai_url
        assert run(host, BASE_URL=url).returncode == 0
        done = run(host, "--recordings=none", BASE_URL=url, QUESTION="What is a brook?")
        assert done.returncode == 1
        assert "the same up to character 10" in done.stdout
        assert ("4 failed" in done.stdout, len(server.requests)) == (True, 8)
        done = run(host, "--recordings=all", BASE_URL=url, QUESTION="What is a brook?")
        assert (done.returncode, len(server.requests)) == (0, 16)
    assert "river" not in "".join(files_in(host).values())


def test_none_without_a_file_connects_to_nothing(host: Path) -> None:
    with StubServer.in_thread() as server:
        done = run(host, "--recordings=none", BASE_URL=server.openai_url)
        assert (done.returncode, server.connections.opened) == (1, 0)
    assert "nothing is recorded" in done.stdout
    assert files_in(host) == {}


REPLAY = """\
import asyncio, sys

from orchestify import ProviderRegistry
from orchestify.testing import Recordings

config = {"providers": {"it": {"type": "litellm", "default_model": "openai/m", "api_key": "k"}}}


async def main():
    recordings = Recordings(sys.argv[1], "none")
    async with ProviderRegistry.from_config(config, recordings=recordings) as registry:
        print((await registry.get("it").complete("hi")).content, "litellm" in sys.modules)


asyncio.run(main())
"""
RECORDING = """\
version: 1
exchanges:
- ask: complete
  provider: it
  request: {model: openai/m, messages: [{role: user, content: hi}]}
  answer: {content: "yes", model: m, finish_reason: stop}
"""


def test_where_a_file_answers_litellm_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    path.write_text(RECORDING)
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", REPLAY, path], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("yes False\n", "")


@pytest.mark.parametrize("init", ["raise RuntimeError", None], ids=["of-the-same-name", "alone"])
def test_where_it_is_not_used_it_imports_nothing_of_ours(tmp_path: Path, init: str | None) -> None:
    (tmp_path / "test_host.py").write_text(USES_NOTHING)
    if init is not None:
        (tmp_path / "orchestify").mkdir()
        (tmp_path / "orchestify" / "__init__.py").write_text(init)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
