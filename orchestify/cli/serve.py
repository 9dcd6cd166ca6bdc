"""`orchestify serve`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from orchestify.cli.errors import CONFIG_ERROR, INTERRUPTED
from orchestify.cli.options import database_option, server_extra_needed
from orchestify.cli.output import WaitingLine, plural
from orchestify.errors import InvalidParameterError

if TYPE_CHECKING:
    from orchestify.server.service import Service


class _RefusedError(click.ClickException):
    exit_code = CONFIG_ERROR


@click.command()
@click.argument("config", type=click.Path(path_type=Path, exists=True), required=False)
@click.option(
    "--import",
    "import_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Store the providers of a JSON file first, keys included: all or none, each once.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@database_option
@click.option(
    "--redis",
    "redis_url",
    envvar="ORCHESTIFY_REDIS",
    show_envvar=True,
    metavar="URL",
    help="Where several machines share rate limits and notices of changes.",
)
@click.option(
    "--machines",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="How many processes share Redis: each one's part of a limit while it is away.",
)
@click.option(
    "--allow-endpoint",
    "allowed",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Where a tenant's base_url may lead although it is not public; several times.",
)
@click.option(
    "--allow-unbounded-answers",
    "allows_unbounded",
    is_flag=True,
    help="Ask those of LiteLLM's backends, too, whose answers may be of any size.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A reverse proxy whose word on who asks is believed; several times. Needs a token.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(min=1),
    default=600,
    show_default=True,
    help="Of each token, at this process.",
)
@click.option(
    "--calls-per-tenant",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many calls of each tenant are under way at a time, at this process.",
)
@click.option(
    "--max-body",
    "max_body_mib",
    type=click.IntRange(1, 1024),
    default=32,
    show_default=True,
    metavar="MIB",
    help="The largest body of a call, decompressed; of other requests it is at most 1.",
)
@click.option(
    "--keep-alive",
    "keep_alive_s",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Send a comment in a stream after so long a silence; 0 sends none.",
)
@click.option(
    "--cors",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Whose pages may call the gateway from a browser, with a token; several times, * for all.",
)
@click.option(
    "--allow-field",
    "allowed_fields",
    multiple=True,
    metavar="NAME",
    help="A field of /v1/messages that goes with the operator's key, too; several times.",
)
@click.option(
    "--allow-beta",
    "allowed_betas",
    multiple=True,
    metavar="NAME",
    help="A beta of Anthropic's that goes with the operator's key, too; several times.",
)
@click.option(
    "--allow-tool",
    "allowed_tools",
    multiple=True,
    metavar="TYPE",
    help="A tool that Anthropic runs, and the operator's key pays for, as its type begins.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=1),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long requests under way may take when it is told to end.",
)
@click.option(
    "--keys-lost",
    is_flag=True,
    help="Start although no stored key can be opened; what they belong to is off.",
)
@click.option(
    "--otel", is_flag=True, help="Send spans and metrics of calls, as the variables OTEL_... say."
)
@click.option("--access-log", is_flag=True, help="Log each request: endpoint, status, time...")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How lines of the log, on stderr, are written.",
)
def command(
    config: Path | None,
    import_path: Path | None,
    host: str,
    port: int,
    url: str,
    redis_url: str | None,
    machines: int,
    allowed: tuple[str, ...],
    allows_unbounded: bool,
    proxies: tuple[str, ...],
    requests_per_minute: int,
    calls_per_tenant: int,
    max_body_mib: int,
    keep_alive_s: float,
    cors_origins: tuple[str, ...],
    allowed_fields: tuple[str, ...],
    allowed_betas: tuple[str, ...],
    allowed_tools: tuple[str, ...],
    grace: float,
    keys_lost: bool,
    otel: bool,
    access_log: bool,
    log_format: Literal["text", "json"],
) -> None:
    """Serve tenants' providers, agents and usage over REST, and models through a gateway.

    CONFIG is what stands beneath every tenant's rows: a directory or a file, as for `check`.
    When it changes it is read anew, and at once on SIGHUP.
    Without it the environment's keys, addresses, default models and limits do, as for from_env.
    Without --database it keeps all in .orchestify/service.db, in the current folder. Beyond
    this machine it serves those who have a token (`orchestify tokens create`).
    """
    with server_extra_needed():
        from orchestify.server.running import run  # noqa: PLC0415 - an extra, and slow
        from orchestify.server.settings import ServiceSettings  # noqa: PLC0415 - as above

    settings = ServiceSettings(
        database=url,
        config_path=config,
        import_path=import_path,
        host=host,
        port=port,
        redis_url=redis_url,
        machines=machines,
        allowed_endpoints=allowed,
        allows_unbounded=allows_unbounded,
        proxies=proxies,
        requests_per_minute=requests_per_minute,
        calls_per_tenant=calls_per_tenant,
        body_limit_bytes=max_body_mib << 20,
        keep_alive_s=keep_alive_s or None,
        cors_origins=cors_origins,
        allowed_fields=allowed_fields,
        allowed_betas=allowed_betas,
        allowed_tools=allowed_tools,
        grace_s=grace,
        telemetry=otel,
        are_keys_lost=keys_lost,
        access_log=access_log,
        log_format=log_format,
    )
    waiting = WaitingLine(lambda: "starting the service")
    try:
        with waiting:
            is_interrupted = run(
                settings, partial(_print_summary, waiting), partial(_print_ending, grace)
            )
        if is_interrupted:
            raise SystemExit(INTERRUPTED)
    except InvalidParameterError as error:
        raise _RefusedError(str(error)) from None


def _print_ending(grace_s: float, under_way: int) -> None:
    """Tell what it waits for, where it waits."""
    if under_way:
        click.echo(
            f"ending: {plural(under_way, 'request')} under way, at most {grace_s:g} s "
            "(Ctrl-C again ends it at once)"
        )


def _print_summary(waiting: WaitingLine, service: Service, address: str) -> None:
    """Tell who started it where it is, on what it stands and who may come in."""
    waiting.end()
    from orchestify.server.startup_summary import startup_summary  # noqa: PLC0415 - as above

    found = startup_summary(service)
    tenants = plural(found.tenants, "tenant")
    rows, configured = plural(found.providers, "provider"), plural(found.configured, "provider")
    where = "in the configuration" if found.environment is None else "in the environment"
    lines = {
        "database": found.database,
        "redis": found.redis,
        "tenants": f"{tenants} with {rows} of their own; {configured} {where}",
        "taken": found.environment,
        "imported": found.imported,
        "document": f"{address}/openapi.json",
        "telemetry": found.telemetry,
        "access": found.access,
    }
    click.echo(f"orchestify serves on {click.style(address, bold=True)}  (Ctrl-C ends it)")
    for name, line in lines.items():
        if line is not None:
            click.echo(f"  {name:<10} {line}")
    for note in found.notes:
        click.echo(f"  {click.style('note      ', fg='yellow')} {note}")
