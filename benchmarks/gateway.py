"""The gateway beside the LiteLLM proxy and Portkey's: CPU a request, and latency, over one stub.

Processes: the stub server that stands in for the provider, `orchestify serve` with its ledger in
SQLite, the LiteLLM proxy with one worker and no database (`--litellm-proxy`), and Portkey's
gateway (`--portkey`), which keeps no account and takes its provider from headers.
`messages` in the tables is asked in Anthropic's protocol, over a provider that speaks it, and
`translated` the same over one that speaks OpenAI's; `embeddings` asks for two vectors of 1,536
numbers, as base64, whole only. They take turns, round by round, at 1 and at 64
requests at once, whole answers and streams of 100
chunks, sent by one aiohttp client. CPU is that of the server's process and its children, from
`/proc`; latency is until the last byte. `stub` in the tables is the stub server asked directly:
the latency without a gateway. Medians over rounds; machines differ, so read the ratios.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks.peers import KEY
from benchmarks.processes import free_port, started
from benchmarks.results import Cell, Table
from benchmarks.settings import LackingError, Settings

MESSAGES = [{"role": "user", "content": "Say something about the weather in three cities."}]
CHUNKS = 100
EMBEDDINGS = "/v1/embeddings"
VECTORS = {"input": ["one text", "another"], "dimensions": 1536, "encoding_format": "base64"}
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
WAIT_S = 300

OURS = """
providers:
  stub: {{type: openai, api_key: {key}, base_url: "{url}/v1", default_model: gpt-4o,
         price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 2}}}}
  claude: {{type: anthropic, api_key: {key}, base_url: "{url}", default_model: claude-sonnet-4-5,
           price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 2}}}}
agents:
  embed: {{provider: stub, model: text-embedding-3-small}}
  claude_whole: {{provider: claude}}
  claude_stream: {{provider: claude, model: "stub;chunks={chunks}"}}
  whole: {{provider: stub}}
  stream: {{provider: stub, model: "stub;chunks={chunks}"}}
"""
THEIRS = """
model_list:
  - model_name: agent:whole
    litellm_params: {{model: openai/gpt-4o, api_key: {key}, api_base: "{url}/v1"}}
  - model_name: agent:stream
    litellm_params: {{model: "openai/stub;chunks={chunks}", api_key: {key}, api_base: "{url}/v1"}}
  - model_name: agent:claude_whole
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_key: {key}, api_base: "{url}"}}
  - model_name: agent:claude_stream
    litellm_params: {{model: "anthropic/stub;chunks={chunks}", api_key: {key}, api_base: "{url}"}}
  - model_name: agent:embed
    litellm_params:
      {{model: openai/text-embedding-3-small, api_key: {key}, api_base: "{url}/v1"}}
litellm_settings: {{num_retries: 0, telemetry: false}}
general_settings: {{master_key: {key}}}
"""


def measure(settings: Settings) -> Iterator[Table]:
    """Measure whole answers and streams of each gateway that is given."""
    try:
        import uvicorn  # noqa: F401 - what the service stands on
    except ImportError:
        raise LackingError('the service is not installed: pip install ".[server]"') from None
    notes = []
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        provider = stub(folder, stack)
        servers = [provider, *endpoints(ours(folder, provider.url, stack))]
        if settings.litellm_proxy:
            command = _command(settings.litellm_proxy)
            servers += endpoints(theirs(command, folder, provider.url, stack))
        else:
            notes.append("the LiteLLM proxy left out: give its command with --litellm-proxy")
        if settings.portkey:
            servers += portkey(_command(settings.portkey), folder, provider.url, stack)
        else:
            notes.append("Portkey's gateway left out: give its command with --portkey")
        tables = asyncio.run(run(servers, settings.repeated(5), settings.sized(600, 64)))
    yield replace(tables[0], notes=(*tables[0].notes, *notes))
    yield from tables[1:]


def _command(given: str) -> str:
    """Return a command's own path.

    Raises:
        LackingError: there is none.
    """
    found = shutil.which(given)
    if found is None:
        raise LackingError(f"there is no command {given!r}")
    return str(Path(found).absolute())


@dataclass
class Server:
    """A process to measure: where it listens, and what its two models are called."""

    name: str
    url: str
    process: subprocess.Popen[Any]
    log: Path
    key: str = KEY
    models: tuple[str, str] = ("agent:whole", "agent:stream")
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_messages(self) -> bool:
        """Whether it is asked in Anthropic's protocol."""
        return self.path == "/v1/messages"

    @property
    def is_embeddings(self) -> bool:
        """Whether it is asked for vectors."""
        return self.path == EMBEDDINGS

    def cpu_s(self) -> float:
        """CPU seconds of the process and all its children until now."""
        return sum(ticks for session, ticks in _processes() if session == self.process.pid) / (
            TICKS_A_SECOND
        )


@dataclass
class Measured:
    """What one server did in one setting, by round."""

    cpu_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Cell]:
        """Medians over rounds."""
        return {
            "CPU": statistics.median(self.cpu_ms),
            "latency": statistics.median(self.latency_ms),
            "p99": statistics.median(self.p99_ms),
        }


def _processes() -> Iterator[tuple[int, int]]:
    """Session and CPU ticks of every process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        yield int(fields[3]), sum(map(int, fields[11:15]))


def stub(folder: Path, stack: ExitStack) -> Server:
    """The provider's stand-in, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "orchestify.testing", "--port", str(port)]
    log = folder / "stub.log"
    process = stack.enter_context(started(command, log))
    models = ("gpt-4o", f"stub;chunks={CHUNKS}")
    return Server("stub", f"http://127.0.0.1:{port}", process, log, models=models)


def ours(folder: Path, url: str, stack: ExitStack) -> Server:
    """`orchestify serve` with a token that may make as many requests as it likes."""
    (folder / "orchestify.yaml").write_text(OURS.format(key=KEY, url=url, chunks=CHUNKS))
    port = free_port()
    command = [sys.executable, "-m", "orchestify"]
    given = {"ORCHESTIFY_DATABASE": f"sqlite:///{folder}/service.db"}
    given |= {"ORCHESTIFY_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
    made = subprocess.run(
        [*command, "tokens", "create", "--tenant", "benchmark", "--scope", "call"],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **given},
    )
    serve = [*command, "serve", "orchestify.yaml", "--port", str(port)]
    serve += ["--requests-per-minute", "100000000"]
    log = folder / "orchestify.log"
    process = stack.enter_context(started(serve, log, **given))
    token = made.stdout.split()[-1]
    return Server("orchestify", f"http://127.0.0.1:{port}", process, log, token)


def theirs(litellm: str, folder: Path, url: str, stack: ExitStack) -> Server:
    """The LiteLLM proxy as its documentation starts it, with one worker."""
    (folder / "proxy.yaml").write_text(THEIRS.format(key=KEY, url=url, chunks=CHUNKS))
    port = free_port()
    command = [litellm, "--config", "proxy.yaml", "--host", "127.0.0.1", "--port", str(port)]
    offline = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
    }
    log = folder / "proxy.log"
    process = stack.enter_context(started(command, log, **offline))
    return Server("litellm proxy", f"http://127.0.0.1:{port}", process, log)


def portkey(command: str, folder: Path, url: str, stack: ExitStack) -> list[Server]:
    """Portkey's gateway, asked for each of the providers."""
    port = free_port()
    log = folder / "portkey.log"
    process = stack.enter_context(started([command, "--headless", f"--port={port}"], log))
    given = {"x-portkey-custom-host": f"{url}/v1", "x-portkey-provider": "openai"}
    name, models = "portkey", ("gpt-4o", f"stub;chunks={CHUNKS}")
    address = f"http://127.0.0.1:{port}"
    chat = Server(name, address, process, log, models=models, headers=given)
    claude = given | {"x-portkey-provider": "anthropic", "x-api-key": KEY}
    models = ("claude-sonnet-4-5", models[1])
    messages = replace(chat, path="/v1/messages", models=models, headers=claude)
    embed = replace(chat, path=EMBEDDINGS, models=("text-embedding-3-small", ""))
    return [
        chat,
        replace(messages, name=f"{name}: messages"),
        replace(embed, name=f"{name}: embeddings"),
    ]


class Load:
    """The client: whole answers and streams, so many at once."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ready(self, server: Server) -> None:
        """Wait until the server answers."""
        end = time.monotonic() + WAIT_S
        while True:
            try:
                await self.request(server, is_stream=False)
                return
            except (aiohttp.ClientError, AssertionError):
                if server.process.poll() is not None or time.monotonic() > end:
                    print(server.log.read_text()[-2000:], file=sys.stderr)
                    raise
            await asyncio.sleep(0.5)

    async def answers(self, server: Server, *, is_stream: bool) -> bool:
        """Whether a server answers; ours must."""
        try:
            await self.request(server, is_stream=is_stream)
        except (aiohttp.ClientError, AssertionError):
            if server.name.startswith("orchestify"):
                raise
            return False
        return True

    async def request(self, server: Server, *, is_stream: bool) -> float:
        """Send a request and read its answer to the end; return the seconds that took."""
        body: dict[str, Any] = {"model": server.models[is_stream], "messages": MESSAGES}
        if server.is_embeddings:
            body = {"model": server.models[0], **VECTORS}
        elif server.is_messages:
            body |= {"max_tokens": 1024, "stream": is_stream}
        elif is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        begun = time.perf_counter()
        async with self._session.post(
            f"{server.url}{server.path}",
            json=body,
            headers={"authorization": f"Bearer {server.key}", **server.headers},
        ) as answer:
            text = await answer.read()
        took = time.perf_counter() - begun
        assert answer.status == 200, f"{server.name}: {answer.status} {text[:300]!r}"
        piece, end = b'"content":', b"[DONE]"
        if server.is_messages:
            piece, end = b"text_delta", b'{"type": "message_stop"}'
        assert not is_stream or text.count(piece) >= CHUNKS
        assert not is_stream or text.rstrip().endswith(end)
        return took

    async def round(
        self, server: Server, into: Measured, count: int, at_once: int, *, is_stream: bool
    ) -> None:
        """Send so many requests and note the CPU each took and their latencies."""
        turns = iter(range(count))
        times: list[float] = []

        async def worker() -> None:
            times.extend([await self.request(server, is_stream=is_stream) for _ in turns])

        before = server.cpu_s()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        into.cpu_ms.append((server.cpu_s() - before) / count * 1e3)
        times.sort()
        into.latency_ms.append(statistics.median(times) * 1e3)
        into.p99_ms.append(times[int(len(times) * 0.99)] * 1e3)


async def run(servers: list[Server], rounds: int, count: int) -> list[Table]:
    """Measure every setting."""
    tables = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)  # below the servers'
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        load = Load(session)
        for server in servers:
            if ":" not in server.name:  # once a process
                await load.ready(server)
        for is_stream in (False, True):
            wanted = [each for each in servers if not (is_stream and each.is_embeddings)]
            asked = [each for each in wanted if await load.answers(each, is_stream=is_stream)]
            notes = [
                f"{each.name} left out: no such answer" for each in wanted if each not in asked
            ]
            for at_once in (1, 64):
                found = {server.name: Measured() for server in asked}
                for number in range(rounds + 1):
                    for server in asked:
                        warm_up = number == 0  # connections, caches
                        into = Measured() if warm_up else found[server.name]
                        size = max(at_once, count // 4 if warm_up else count)
                        await load.round(server, into, size, at_once, is_stream=is_stream)
                tables.append(replace(table(is_stream, at_once, found), notes=tuple(notes)))
    return tables


def table(is_stream: bool, at_once: int, found: dict[str, Measured]) -> Table:
    """Return medians, with each one's CPU to ours at the endpoint."""
    what = f"Streams of {CHUNKS} chunks" if is_stream else "Whole answers"
    rows = {name: measured.row() for name, measured in found.items()}
    for name, row in rows.items():
        endpoint = name.partition(":")[1] + name.partition(":")[2]
        row["CPU / orchestify"] = row["CPU"] / rows[f"orchestify{endpoint}"]["CPU"]
    return Table(f"{what}, {at_once} at once", "ms", rows)


def endpoints(chat: Server) -> list[Server]:
    """Return a gateway asked in every way."""
    claudes = ("agent:claude_whole", "agent:claude_stream")
    messages = replace(chat, name=f"{chat.name}: messages", path="/v1/messages")
    embed = ("agent:embed", "")
    return [
        chat,
        replace(messages, models=claudes),
        replace(messages, name=f"{chat.name}: translated"),
        replace(chat, name=f"{chat.name}: embeddings", path=EMBEDDINGS, models=embed),
    ]
