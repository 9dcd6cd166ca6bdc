from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestify.cli import COMMANDS, cli
from orchestify.cli.output import size, usd
from orchestify.testing import StubServer
from tests.signals import with_interrupts

KEY = "sk-made-up-key-0123456789"
CONFIG = """\
providers:
  claude:
    {type: anthropic, base_url: "${STUB}", api_key: "${KEY}", default_model: claude-sonnet-4-5}
  gpt: {type: openai, base_url: "${STUB}/v1", api_key: "${KEY}", default_model: gpt-4.1-mini}
  locked: {type: openai, base_url: "${STUB}/v1", api_key: wrong-key, default_model: gpt-4.1-mini}
  spare: {type: openai, api_key: "${NOT_SET}", default_model: gpt-4o, enabled: auto}
agents:
  planner: {provider: claude, thinking: true, temperature: 0.2, fallback: [gpt]}
  coder: {provider: gpt}
  quoted: {provider: gpt, model: "gpt-4.1-mini;text=four words in all"}
  slow: {provider: gpt, model: "gpt-4.1-mini;chunks=600;chunk_delay_s=0.05"}
  locked: {provider: locked}
  hopeless: {provider: locked, fallback: [{provider: gpt, model: missing-model}]}
  absent: {provider: gpt, enabled: false}
"""


@pytest.fixture(scope="module")
def stub() -> Iterator[StubServer]:
    with StubServer.in_thread() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STUB", stub.url)
    monkeypatch.setenv("KEY", KEY)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working one, and no key in the environment."""
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_URL"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="orchestify", input=stdin)


def _read(terminal: int) -> bytes:
    """What a terminal was sent, nothing once nobody writes there any more."""
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's way to say so
        return b""


class TestHelp:
    def test_help_lists_the_commands_and_the_exit_codes(self) -> None:
        result = run("--help")
        assert result.exit_code == 0
        assert "ask        Ask an agent and stream its answer." in result.stdout
        assert "130  interrupted; what was used until then is booked" in result.stdout

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_help_under_its_own_name(self, name: str) -> None:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Usage: orchestify {name} ")

    def test_an_unknown_command_is_a_usage_error(self) -> None:
        result = run("chekc")
        assert result.exit_code == 2
        assert "there is no command 'chekc'; did you mean 'check'?" in result.stderr

    def test_version_is_told(self) -> None:
        assert run("--version").stdout.startswith("orchestify ")


class TestCompletion:
    """As the script does that click writes for bash."""

    def words(self, line: str) -> list[str]:
        asked = {"COMP_WORDS": f"orchestify {line}", "COMP_CWORD": str(len(line.split(" ")))}
        told = CliRunner(env={**asked, "_ORCHESTIFY_COMPLETE": "bash_complete"}).invoke(
            cli, prog_name="orchestify", complete_var="_ORCHESTIFY_COMPLETE"
        )
        return [each.removeprefix("plain,") for each in told.stdout.split()]

    def test_agents_are_completed_from_the_configuration_that_is_named(self, config: str) -> None:
        assert self.words(f"explain --config {config} pl") == ["planner"]
        assert self.words(f"ask --config {config} q") == ["quoted"]

    def test_providers_are_completed_as_arguments_and_as_a_value(self, config: str) -> None:
        assert self.words(f"providers test --config {config} gpt l") == ["locked"]
        assert self.words(f"models --config {config} --provider c") == ["claude"]

    def test_what_cannot_be_read_completes_nothing(self, empty: Path) -> None:
        (empty / "config").mkdir()
        (empty / "config" / "providers.yaml").write_text("providers: [")
        assert self.words("models --provider c") == []
        assert self.words("ask --config nowhere p") == []


class TestInit:
    def test_what_init_writes_passes_check_and_answers(self, empty: Path) -> None:
        assert run("init").exit_code == 0
        assert sorted(path.name for path in (empty / "config").iterdir()) == [
            ".gitignore",
            "agents.yaml",
            "orchestify.schema.json",
            "policies.yaml",
            "providers.yaml",
        ]
        assert run("check").exit_code == 0
        assert run("ask", "assistant", "hello").stdout.startswith("This answer was made up.")

    def test_init_names_variables_and_never_their_values(
        self, empty: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        result = run("init", "elsewhere")
        text = "".join(path.read_text() for path in (empty / "elsewhere").iterdir())
        assert "1 provider found: anthropic" in result.stdout
        assert "api_key: ${ANTHROPIC_API_KEY}" in text
        assert KEY not in text + result.output
        assert run("check", "elsewhere").exit_code == 0

    def test_init_says_what_a_provider_still_lacks(
        self, empty: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
        result = run("init")
        assert result.stdout.splitlines()[5:7] == [
            "no provider is complete in the environment; the one written makes its answers up",
            "azure is left out: AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_DEPLOYMENT not set",
        ]

    def test_init_makes_a_configuration_of_litellms(
        self, empty: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        Path("litellm.yaml").write_text(
            "model_list:\n"
            "  - model_name: small\n"
            "    litellm_params: {model: openai/gpt-4o-mini, api_key: made-up-key}\n"
        )
        result = run("init", "--from", "litellm.yaml")
        assert result.exit_code == 0
        assert "put it into the variable OPENAI_API_KEY" in result.stdout
        assert "made-up-key" not in result.stdout
        assert run("check").exit_code == 0

    def test_init_says_where_litellms_configuration_is_wrong(self, empty: Path) -> None:
        Path("litellm.yaml").write_text("model_list: [{model_name: small}]\n")
        result = run("init", "--from", "litellm.yaml")
        assert result.exit_code == 3
        assert "litellm.yaml:1:14: model_list.0: expected a model_name" in result.stderr
        assert not Path("config").exists()

    def test_init_overwrites_nothing_unless_forced(self, empty: Path) -> None:
        run("init")
        agents = empty / "config" / "agents.yaml"
        agents.write_text("mine")
        refused = run("init")
        assert (refused.exit_code, agents.read_text()) == (1, "mine")
        assert "config/agents.yaml" in refused.stderr
        assert "--force overwrites" in refused.stderr
        assert run("init", "--force").exit_code == 0
        assert agents.read_text() != "mine"


class TestCheck:
    def test_check_tells_what_is_on_and_off_and_what_is_not_sent(self, config: str) -> None:
        result = run("check", config)
        assert result.exit_code == 0
        assert "off: NOT_SET is not set" in result.stdout
        assert (
            f"note: {config}:8:47: agents.planner.temperature: not sent to "
            "claude/claude-sonnet-4-5, which refuses it while it thinks\n"
        ) in result.stdout
        assert "ok: 4 providers, 7 agents" in result.stdout

    @pytest.mark.data_of("litellm")
    def test_check_notes_files_not_read_and_agents_that_cannot_work(self, empty: Path) -> None:
        Path("config").mkdir()
        Path("config/providers.yaml").write_text(
            "providers: {p: {type: openai, api_key: made-up, default_model: gpt-4o}}\n"
        )
        agent = "{provider: p, thinking: true, fallback: [{provider: p, model: gpt-5.1}]}"
        Path("config/agents.yaml").write_text(f"agents: {{a: {agent}}}\n")
        Path("config/policy.yaml").write_text("timeout_s: 9\n")
        assert run("check").stdout.splitlines()[-3:] == [
            "note: config/policy.yaml: not read; the name is policies.yaml",
            "note: config/agents.yaml:1:27: agents.a.thinking: "
            "p/gpt-4o has no extended thinking and is never asked",
            "ok: 1 provider, 1 agent, 2 notes",
        ]

    def test_an_agent_that_can_never_be_answered_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "providers: {p: {type: openai, default_model: gpt-4o}}\nagents: {a: {provider: p}}\n"
        )
        problem = f"{path}:2:10: agents.a: no call can be answered: p: it has no api_key"
        result = run("check", str(path))
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [problem, "", "1 problem found"]
        told = run("check", "--json", str(path))
        assert (told.exit_code, json.loads(told.stdout)["problems"]) == (1, [problem])

    def test_tasks_are_shown(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "providers: {p: {type: mock}}\nagents: {scout: {provider: p}}\n"
            "tasks: {quick: {agent: scout, priority: high}}\n"
        )
        told = json.loads(run("check", "--json", str(path)).stdout)
        assert told["tasks"] == {"quick": {"agent": "scout", "priority": "high"}}
        assert "quick" in run("check", str(path)).stdout
        plan = run("explain", "quick", "--config", str(path))
        assert plan.exit_code == 0
        assert "Agent scout" in plan.stdout

    def test_check_of_nothing_tells_how_to_get_a_configuration(self, empty: Path) -> None:
        result = run("check")
        assert result.exit_code == 1
        assert "`orchestify init` writes a configuration" in result.stdout

    def test_check_tells_every_problem_with_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.yaml"
        path.write_text("providers:\n  a: {typ: openai}\nagents:\n  b: {provider: c}\n")
        result = run("check", str(path))
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [
            f"{path}:2:3: providers.a.type: missing",
            f"{path}:2:7: providers.a.typ: unknown key; did you mean 'type'?",
            f"{path}:4:7: agents.b.provider: no such provider; there are: a",
            "",
            "3 problems found",
        ]

    def test_check_as_json(self, config: str, tmp_path: Path) -> None:
        report = json.loads(run("check", config, "--json").stdout)
        assert report["ok"] is True
        assert report["agents"]["planner"] == {
            "provider": "claude",
            "model": "claude-sonnet-4-5",
            "fallback": ["gpt/gpt-4.1-mini"],
            "on": True,
        }
        failed = run("check", str(tmp_path / "nothing"), "--json")
        assert failed.exit_code == 1
        assert json.loads(failed.stdout) == {
            "ok": False,
            "problems": [f"{tmp_path / 'nothing'}: no such file or directory"],
        }

    def test_check_shows_the_price_in_force_and_where_sources_disagree(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "providers:\n"
            "  gpt:\n"
            "    type: openai\n"
            "    api_key: made-up\n"
            "    default_model: gpt-4o\n"
            "    price: {input_usd_per_mtok: 77, output_usd_per_mtok: 88}\n"
            "agents: {}\n"
        )
        (row,) = json.loads(run("check", str(path), "--prices", "--json").stdout)["prices"]
        assert (row["input_usd_per_mtok"], row["source"], row["disagree"]) == ("77", "config", True)
        table = run("check", str(path), "--prices").stdout
        assert "gpt/gpt-4o     77      88  config" in table

    @pytest.mark.parametrize(("no_color", "is_coloured"), [("", True), ("1", False)])
    def test_a_terminal_has_colours_unless_it_wants_none(
        self, config: str, monkeypatch: pytest.MonkeyPatch, no_color: str, is_coloured: bool
    ) -> None:
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setenv("TERM", "xterm-256color")
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "orchestify", "check", config]
        with subprocess.Popen(  # noqa: S603 - this interpreter
            command, stdout=follower, stderr=follower
        ) as process:
            os.close(follower)
            shown = b"".join(iter(lambda: _read(leader), b""))
        os.close(leader)
        assert process.returncode == 0
        assert (b"\x1b[32m" in shown) is is_coloured
        assert (b"\x1b[3" in shown) is is_coloured


class TestExplain:
    def test_explain_tells_lines_bounds_and_what_is_not_sent(self, config: str) -> None:
        result = run("explain", "planner", "--config", config, "--json")
        plan = json.loads(result.stdout)
        assert plan["attempts_at_most"] == 5
        assert plan["targets"][1]["skipped"] == "the model has no extended thinking"
        assert plan["targets"][0]["left_out"] == ["temperature"]
        assert {"name": "thinking", "value": True, "origin": f"{config}:8:31"} in plan["settings"]
        assert KEY not in result.stdout

    def test_explain_as_tables(self, config: str) -> None:
        result = run("explain", "planner", "--config", config, "--max-tokens", "100")
        assert "Target 2: gpt/gpt-4.1-mini" in result.stdout
        assert "not sent: temperature, which the model refuses" in result.stdout
        assert "skipped now: the model has no extended thinking" in result.stdout
        assert "One call with 1,000 input tokens: at most 5 attempts and $" in result.stdout

    @pytest.mark.parametrize(
        ("agent", "said"),
        [
            ("planer", "agent 'planer' is not configured; did you mean 'planner'?"),
            ("absent", "agent 'absent' is off"),
        ],
    )
    def test_an_agent_that_is_not_there_is_a_usage_error_with_those_that_are(
        self, config: str, agent: str, said: str
    ) -> None:
        result = run("explain", agent, "--config", config)
        assert result.exit_code == 2
        assert said in result.stderr
        assert "There are: planner, coder, quoted, slow, locked, hopeless" in result.stderr


class TestAsk:
    def test_the_answer_is_on_stdout_and_the_account_on_stderr(self, config: str) -> None:
        result = run("ask", "quoted", "hello", "--config", config)
        assert (result.exit_code, result.stdout) == (0, "four words in all\n")
        assert result.stderr.startswith("gpt/gpt-4.1-mini | ")
        assert " in, 5 out | " in result.stderr

    def test_a_dash_reads_the_prompt_from_stdin(self, config: str, stub: StubServer) -> None:
        run("ask", "coder", "-", "--config", config, "--system", "be short", stdin="from stdin\n")
        assert stub.requests[-1].body["messages"] == [
            {"role": "system", "content": "be short"},
            {"role": "user", "content": "from stdin\n"},
        ]

    def test_ask_as_json(self, config: str) -> None:
        result = run("ask", "coder", "hello", "--config", config, "--max-tokens", "9", "--json")
        answer = json.loads(result.stdout)
        assert answer["content"] == "gpt-4.1-mini read 1 words."
        assert answer["provider"] == "gpt"
        assert answer["finish_reason"] == "stop"
        assert answer["usage"]["source"] == "reported"
        assert isinstance(answer["cost_usd"], str)
        assert result.stderr == ""

    def test_thinking_is_shown_on_stderr_where_asked_for(self, config: str) -> None:
        shown = run("ask", "planner", "hello", "--config", config, "--show-thinking")
        hidden = run("ask", "planner", "hello", "--config", config)
        assert "First the stub reads the request" in shown.stderr
        assert "First the stub reads the request" not in hidden.output
        assert shown.stdout == hidden.stdout == "claude-sonnet-4-5 read 1 words.\n"

    def test_a_failed_call_is_one_block_without_traceback_or_key(self, config: str) -> None:
        result = run("ask", "locked", "hello", "--config", config)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: AuthenticationError: locked/gpt-4.1-mini: ")
        assert len(result.stderr.splitlines()) == 1
        assert "wrong-key" not in result.stderr

    def test_a_failed_chain_tells_each_target(self, config: str) -> None:
        result = run("ask", "hopeless", "hello", "--config", config)
        assert result.exit_code == 1
        assert "Error: AllTargetsFailedError: none of 2 targets answered:\n" in result.stderr
        assert "\n  locked/gpt-4.1-mini: AuthenticationError: " in result.stderr
        assert "\n  gpt/missing-model: ModelNotFoundError: " in result.stderr

    def test_a_cut_answer_is_shown_as_far_as_it_came(self, config: str) -> None:
        model = "gpt-4.1-mini;text=one two three four;cut_after=2"
        result = run("ask", "coder", "hello", "--config", config, "--model", model)
        assert (result.exit_code, result.stdout) == (1, "one two \n")
        assert result.stderr.startswith("Error: StreamInterruptedError: gpt/gpt-4.1-mini")

    def test_a_broken_configuration_is_told_and_exits_with_3(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.yaml"
        path.write_text("providers: {a: {type: mock}}\nagents: {b: {provider: c}}\n")
        result = run("ask", "b", "hello", "--config", str(path))
        assert result.exit_code == 3
        assert result.stderr.splitlines() == [
            "Error: the configuration has 1 problem",
            f"  {path}:2:14: agents.b.provider: no such provider; there are: a",
        ]

    def test_a_ledger_that_cannot_be_used_is_told_once(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "providers: {p: {type: mock}}\nagents: {a: {provider: p}}\n"
            f"ledger: {{url: 'sqlite:///{tmp_path}'}}\n"
        )
        result = run("ask", "a", "hello", "--config", str(path))
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            f"Error: LedgerError: the ledger's database sqlite:///{tmp_path} cannot be used: "
            "it is a directory\n"
        )

    def test_a_ledger_that_is_away_is_noted_and_the_answer_comes(
        self, empty: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "providers: {p: {type: mock}}\nagents: {a: {provider: p}}\n"
            "ledger: {url: 'postgresql://nobody@127.0.0.1:1/x'}\n"
        )
        result = run("ask", "a", "hello", "--config", str(path))
        assert result.exit_code == 0
        assert result.stderr.startswith(
            "note: the ledger's database postgresql://nobody@127.0.0.1:1/x cannot be used: "
            "connection to server"
        )
        assert "their records wait in a local file\n" in result.stderr

    def test_a_missing_configuration_tells_how_to_get_one(self, empty: Path) -> None:
        result = run("ask", "b", "hello")
        assert result.exit_code == 3
        assert "there is no configuration at config; `orchestify init` writes one" in result.stderr

    def test_an_empty_prompt_is_a_usage_error(self, config: str) -> None:
        assert run("ask", "coder", "-", "--config", config, stdin=" \n").exit_code == 2

    def test_a_silence_of_two_seconds_is_a_line_on_a_terminal_alone(
        self, config: str, stub: StubServer
    ) -> None:
        command = [sys.executable, "-m", "orchestify", "ask", "coder", "hi"]
        command += ["--model", "gpt-4.1-mini;text=at last;delay_s=4", "--config", config]
        leader, follower = pty.openpty()
        with subprocess.Popen(  # noqa: S603 - this interpreter
            command, stdout=subprocess.PIPE, stderr=follower, env={**os.environ, "TERM": "xterm"}
        ) as process:
            os.close(follower)
            shown = b"".join(iter(lambda: _read(leader), b""))
            answer = process.stdout.read() if process.stdout else b""
        os.close(leader)
        assert b"waiting for the answer of coder, " in shown
        assert b"gpt/gpt-4.1-mini | " in shown.splitlines()[-1]
        assert answer == b"at last\n"


class TestModels:
    @pytest.mark.data_of("litellm")
    def test_models_lists_what_is_configured(self, config: str) -> None:
        found = json.loads(run("models", "--config", config, "--json").stdout)
        assert [(each["provider"], each["model"]) for each in found][:2] == [
            ("claude", "claude-sonnet-4-5"),
            ("gpt", "gpt-4.1-mini"),
        ]
        assert "claude-sonnet-4-5" in run("models", "--config", config).stdout

    @pytest.mark.data_of("litellm")
    def test_models_of_a_provider_are_all_that_are_known(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "providers:\n  claude: {type: anthropic, api_key: k, default_model: claude-x}\n"
            "agents: {}\n"
        )
        result = run("models", "--config", str(path), "--provider", "claude", "--json")
        found = {each["model"]: each for each in json.loads(result.stdout)}
        assert found["claude-sonnet-4-5"]["context_window"] == 200_000
        assert found["claude-x"]["input_usd_per_mtok"] is None

    def test_a_provider_that_is_not_there_is_a_usage_error(self, config: str) -> None:
        off = run("models", "--config", config, "--provider", "spare")
        assert off.exit_code == 2
        assert "provider 'spare' is off (NOT_SET is not set)" in off.stderr


class TestProviders:
    def test_list_tells_how_each_is_reached_and_no_key(self, config: str, stub: StubServer) -> None:
        rows = json.loads(run("providers", "list", "--config", config, "--json").stdout)
        assert rows[1] == {
            "name": "gpt",
            "type": "openai",
            "engine": None,
            "model": "gpt-4.1-mini",
            "base_url": f"{stub.url}/v1",
            "has_key": True,
            "on": True,
            "reason": None,
            "recent": None,
        }
        table = run("providers", "list", "--config", config).stdout
        assert "spare is off: NOT_SET is not set" in table
        assert KEY not in table

    def test_list_tells_how_the_calls_in_the_ledger_went(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "providers: {m: {type: mock, default_model: a}, n: {type: mock}}\n"
            "agents: {asker: {provider: m}}\n"
            'ledger: {url: "sqlite:///u.db"}\n'
        )
        assert run("ask", "asker", "hi", "--config", str(path)).exit_code == 0
        table = run("providers", "list", "--config", str(path)).stdout
        assert "1 of 1 answered" in table
        assert "no calls" in table

    def test_test_passes_for_what_works_and_writes_its_results(
        self, config: str, tmp_path: Path
    ) -> None:
        output = tmp_path / "results.json"
        result = run("providers", "test", "gpt", "--config", config, "--output", str(output))
        assert result.exit_code == 0
        assert "gpt" in result.stdout
        assert json.loads(output.read_text())["providers"][0]["ok"] is True

    def test_test_times_answers_where_it_is_told_to(self, config: str, tmp_path: Path) -> None:
        output = tmp_path / "results.json"
        given = ["--benchmark", "3", "--config", config, "--output", str(output)]
        result = run("providers", "test", "gpt", *given)
        (trial,) = json.loads(output.read_text())["providers"]
        assert result.exit_code == 0
        assert "tokens/s" in result.stdout
        assert (trial["benchmark"]["calls"], trial["benchmark"]["errors"]) == (3, {})
        assert trial["benchmark"]["latency_p95_s"] > 0

    def test_test_exits_with_1_where_a_check_fails(self, config: str) -> None:
        result = run("providers", "test", "gpt", "locked", "--config", config)
        assert result.exit_code == 1
        assert "locked: connect failed: AuthenticationError: " in result.stdout

    def test_test_says_what_it_spent_of_what_it_may(self, config: str) -> None:
        result = run("providers", "test", "gpt", "--budget", "0.25", "--config", config)
        assert result.stdout.splitlines()[-1].startswith("spent: $0.00")
        assert " of the $0.25 that this may cost; 5 requests, " in result.stdout


class TestSchema:
    def test_schema_is_a_json_schema(self) -> None:
        schema = json.loads(run("schema").stdout)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert "providers" in schema["properties"]


class TestDemo:
    def test_demo_shows_three_answers_and_an_account_that_the_server_confirms(self) -> None:
        with orchestify("demo") as process:
            output, told = process.communicate(timeout=60)
        assert (process.returncode, told) == (0, "")
        assert "planner  | First, read the file as a stream" in output
        assert "coder    |     print(sum(len(line.split()) for line in file))" in output
        assert "reviewer | An empty file, a file without a last line break" in output
        assert "The server counted 4 requests, " in output
        assert ": the ledger agrees.\n1 call without a known price" in output

    def test_demo_as_json(self) -> None:
        with orchestify("demo", "--json") as process:
            output, told = process.communicate(timeout=60)
        report = json.loads(output)
        assert (process.returncode, told) == (0, "")
        assert list(report["answers"]) == ["planner", "coder", "reviewer"]
        assert report["accounts_agree"] is True
        assert report["summary"]["total"]["calls"] == 3
        assert report["summary"]["total"]["attempts"] == 4
        assert report["summary"]["unpriced_calls"] == 1


def orchestify(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-m", "orchestify", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
        preexec_fn=with_interrupts,  # noqa: PLW1509 - it sets signals, no more
    )


class TestProcess:
    @pytest.mark.parametrize("told_to", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_an_interrupt_stops_the_provider_books_and_exits_with_130(
        self, config: str, stub: StubServer, told_to: signal.Signals
    ) -> None:
        with orchestify("ask", "slow", "hello", "--config", config) as process:
            assert process.stdout is not None
            first = process.stdout.read(3)
            process.send_signal(told_to)
            rest, told = process.communicate(timeout=20)
        assert first == "one"
        assert process.returncode == 130
        assert "interrupted; booked " in told
        assert "Traceback" not in told + rest
        assert wait_for_outcome(stub) == "client_left"

    def test_a_reader_that_leaves_stops_the_provider(self, config: str, stub: StubServer) -> None:
        with orchestify("ask", "slow", "hello", "--config", config) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(3)
            process.stdout.close()
            told = process.stderr.read()
        assert "Traceback" not in told
        assert wait_for_outcome(stub) == "client_left"

    def test_a_closed_stdout_is_no_traceback(self) -> None:
        shell = f"{shlex.quote(sys.executable)} -m orchestify schema >&-"
        done = subprocess.run(  # noqa: S603 - this interpreter
            ["/bin/sh", "-c", shell], check=False, capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr

    def test_a_full_disk_is_told_without_a_traceback(self) -> None:
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "orchestify", "schema"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert ended.returncode == 1
        assert ended.stderr == "Error: the output cannot be written: No space left on device\n"

    def test_no_colour_goes_to_a_pipe(self, config: str) -> None:
        with orchestify("check", config) as process:
            output, told = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "\x1b" not in output + told

    def test_a_terminal_that_cannot_show_a_character_gets_another(self, config: str) -> None:
        asked = ["ask", "coder", "hello", "--config", config]
        model = ["--model", "gpt-4.1-mini;text=a%E2%86%92b"]
        with orchestify(*asked, *model, PYTHONIOENCODING="latin-1") as process:
            output, _ = process.communicate(timeout=20)
        assert (process.returncode, output) == (0, "a?b\n")


def wait_for_outcome(stub: StubServer) -> str:
    deadline = time.monotonic() + 5
    while stub.requests[-1].outcome == "active" and time.monotonic() < deadline:
        time.sleep(0.01)
    return stub.requests[-1].outcome


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (0.0000001, "<$0.000001"),
        (0.0125, "$0.0125"),
        (0.5, "$0.50"),
        (1234.567, "$1,234.57"),
    ],
)
def test_money_is_written_so_that_it_can_be_seen(amount: float | None, written: str) -> None:
    assert usd(amount) == written


@pytest.mark.parametrize(
    ("tokens", "written"),
    [(None, "?"), (8192, "8192"), (131_072, "131k"), (1_000_000, "1M"), (1_048_576, "1.05M")],
)
def test_sizes_are_written_shortly(tokens: int | None, written: str) -> None:
    assert size(tokens) == written
