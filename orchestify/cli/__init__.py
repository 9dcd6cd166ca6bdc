"""The command `orchestify`; each command's module is imported when it is called."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper

import click

from orchestify.cli.errors import CONFIG_ERROR, INTERRUPTED, PROBLEMS, show_error
from orchestify.errors import ConfigError, OrchestifyError
from orchestify.version import version

COMMANDS = {
    "init": ("init", "Write a commented configuration from the keys in the environment."),
    "check": ("check", "Say what is wrong with a configuration, or what is on and off."),
    "explain": ("explain", "Show what a call of an agent does, and where that is written."),
    "ask": ("ask", "Ask an agent and stream its answer."),
    "batch": ("batch", "Ask an agent many requests from a file."),
    "models": ("models", "List models: context window, prices, capabilities."),
    "usage": ("usage", "Report tokens and money: a table, JSON, CSV or a page."),
    "cache": ("cache", "Drop the answers that are kept for equal requests."),
    "providers": ("providers", "List the providers, or try each of them."),
    "keys": ("keys", "Keep providers' keys encrypted, and rotate what they are encrypted under."),
    "serve": ("serve", "Serve tenants over REST, and models through a gateway."),
    "tokens": ("tokens", "Make, list and revoke the tokens with which tenants reach the service."),
    "audit": ("audit", "Show who changed what in the service, and what was refused."),
    "schema": ("schema", "Print the configuration's JSON Schema, for editors."),
    "demo": ("demo", "Run three agents against a server on this machine; needs no key."),
}
"""Commands by name, in the order shown: the module, and the first line of its help."""

# Politely: by a supervisor, or by the terminal that was closed (not under nohup).
_KILLS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

_EPILOG = """\b
Exit codes:
  0    done
  1    `check` found problems, or a call, a test or a write failed
  2    wrong command line: an unknown command, option, agent or provider
  3    the configuration cannot be used (where that is not what was asked)
  130  interrupted; what was used until then is booked
"""


class LazyCommands(click.Group):
    """A group that knows its commands' names and imports none of them to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order shown."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command's module and return its `command`."""
        if name not in COMMANDS:
            return None
        module = import_module(f"orchestify.cli.{COMMANDS[name][0]}")
        command: click.Command = module.command
        command.name = name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named; name the one that was meant where there is none."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from orchestify.core.problems import did_you_mean  # noqa: PLC0415 - difflib is slow

            meant = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their help, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what fails is told in one block, without a traceback.

        `NO_COLOR` turns colours off, whatever its value. Source: no-color.org.
        """
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            show_error(error)
            ctx.exit(CONFIG_ERROR)
        except OrchestifyError as error:
            show_error(error)
            ctx.exit(PROBLEMS)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"orchestify {version()}")
        ctx.exit()


@click.group(
    cls=LazyCommands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version and exit.",
)
def cli() -> None:
    """YAML in, accountable LLM providers out."""


def main() -> None:
    """Run the command and exit; a polite kill ends it as Ctrl-C does, and books what was used."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # of what it cannot read or show
    for number in _KILLS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        _run()
    except OSError as error:
        click.echo(f"Error: the output cannot be written: {error.strerror or error}", err=True)
        os._exit(PROBLEMS)  # what is left in the buffer would fail again on the way out


def _interrupt(*_: object) -> None:
    """Do what Ctrl-C does, also in a background job, whose Ctrl-C the shell has turned off."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def _run() -> None:
    """Run the command, and write what it printed while a failure can still be told."""
    try:
        cli(prog_name="orchestify")
    finally:
        if isinstance(sys.stdout, TextIOWrapper):  # it may be closed
            sys.stdout.flush()
