"""`orchestify keys`: the vault."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestify.cli.configuration import config_option, json_option
from orchestify.cli.output import console, plural, print_json, table

if TYPE_CHECKING:
    from orchestify.vault import Rotation, Vault

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLE = "ORCHESTIFY_ENCRYPTION_KEYS"
_ON_THE_COMMAND_LINE = (
    "a key is not given on the command line, where history and other users see it; "
    "leave it out to be asked for it, or write it to standard input"
)


def _vault_options(command: F) -> F:
    """Add `--vault WHERE` and `--config PATH`."""
    return click.option(
        "--vault",
        "where",
        metavar="WHERE",
        help="A file, or a database's URL; else ORCHESTIFY_VAULT, "
        "else .orchestify/vault.json beside the configuration.",
    )(config_option(command))


@click.group()
def command() -> None:
    """Keep providers' keys encrypted, in a file or a database.

    In the YAML, `api_key: vault:NAME` takes one. The encryption keys are in
    ORCHESTIFY_ENCRYPTION_KEYS, newest first, with commas between. No command shows a key.
    """


@command.command("generate", short_help="Make an encryption key and print it.")
def generate_command() -> None:
    """Make a new encryption key and print it, on the last line.

    Whoever has it can read the vault, and without it nobody can: keep it apart from the vault
    and its backups.
    """
    from orchestify.vault import new_encryption_key  # noqa: PLC0415 - slow to import

    click.echo(f"Put this key into {_VARIABLE}, as in")
    click.echo(f'  export {_VARIABLE}="KEY"')
    click.echo("or, where there are keys already, before them, as in")
    click.echo(f'  export {_VARIABLE}="KEY,OLD"')
    click.echo("and then run `orchestify keys rotate`. It is shown this once:")
    click.echo(new_encryption_key())


@command.command("set", short_help="Put a key into the vault.")
@click.argument("name")
@click.argument("extra", nargs=-1, metavar="")
@_vault_options
def set_command(name: str, extra: tuple[str, ...], where: str | None, path: Path) -> None:
    """Put a key into the vault under NAME, in the place of the one that is there.

    The key is asked for on a terminal, and read from standard input otherwise.
    """
    if extra:
        raise click.UsageError(_ON_THE_COMMAND_LINE)
    with _opened(where, path) as vault:
        vault.set(name, _key_given())
        (stored,) = (each for each in vault.list() if each.name == name)
        click.echo(f"set {name} (fingerprint {stored.fingerprint}) in {vault.where}")
    click.echo(f"in the YAML: api_key: vault:{name}")


@command.command("list", short_help="List what is in the vault, without the keys.")
@_vault_options
@json_option
def list_command(where: str | None, path: Path, as_json: bool) -> None:
    """List the vault's names: each key's fingerprint, its age, and what it is encrypted under.

    A fingerprint tells keys apart and tells nothing else; it is another after a rotation.
    """
    with _opened(where, path) as vault:
        stored, place = vault.list(), vault.where
    if as_json:
        print_json(stored)
        return
    if not stored:
        click.echo(f"no keys in {place}")
        return
    rows = table(f"Keys in {place}", "name", "fingerprint", "set at (UTC)", "under")
    for each in stored:
        under = str(each.key) if each.key else "no encryption key that is set"
        rows.add_row(each.name, each.fingerprint or "?", f"{each.set_at:%Y-%m-%d %H:%M}", under)
    console().print(rows)


@command.command("rotate", short_help="Encrypt everything under the newest encryption key.")
@_vault_options
def rotate_command(where: str | None, path: Path) -> None:
    """Encrypt everything under the newest encryption key, and say which others may be dropped.

    In a database it covers the keys of the service's tenants too. Everything changes in one
    step: if it is interrupted, run it again.
    """
    with _opened(where, path) as vault:
        _show_rotation(vault.rotate(), vault.where)


@command.command("remove", short_help="Destroy a key.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_vault_options
def remove_command(name: str, yes: bool, where: str | None, path: Path) -> None:
    """Destroy the key NAME of the vault."""
    with _opened(where, path) as vault:
        if not yes:
            click.confirm(f"Destroy {name} in {vault.where}?", abort=True)
        vault.remove(name)
        click.echo(f"removed {name} from {vault.where}")


@command.command("import", short_help="Put the environment's keys into the vault.")
@click.option("--replace", is_flag=True, help="Also those whose names are in the vault.")
@_vault_options
def import_command(replace: bool, where: str | None, path: Path) -> None:
    """Put the providers' keys that the environment holds into the vault.

    Names that are in the vault are left, unless --replace.
    """
    from orchestify.providers.environment import keys_from_env  # noqa: PLC0415 - slow to import

    found = keys_from_env(os.environ)
    if not found:
        click.echo("no provider's key in the environment; `orchestify keys set NAME` takes others")
        return
    with _opened(where, path) as vault:
        secrets = {name: secret for name, (_, secret) in found.items()}
        added = vault.add(secrets, replace=replace)
        click.echo(f"{plural(len(added), 'key')} put into {vault.where}")
    for name, (variable, _) in found.items():
        if name in added:
            click.echo(f"  {variable}; in the YAML: api_key: vault:{name}")
        else:
            click.echo(f"  {variable}: left, {name} is in the vault; --replace takes it")


@contextlib.contextmanager
def _opened(where: str | None, path: Path) -> Iterator[Vault]:
    from orchestify.vault import open_vault  # noqa: PLC0415 - cryptography is slow to import

    is_file = path.is_file() or path.suffix in {".yaml", ".yml"}
    folder = path.parent if is_file else path
    with contextlib.closing(open_vault(where, base_dir=folder)) as vault:
        yield vault


def _key_given() -> str:
    """Return the key from a hidden prompt, or from standard input where that is no terminal."""
    if sys.stdin.isatty():
        return str(click.prompt("Key", hide_input=True, err=True))
    return sys.stdin.read().strip("\r\n")


def _show_rotation(rotation: Rotation, where: str) -> None:
    if not rotation.total:
        click.echo(f"no keys in {where}; nothing to rotate")
        return
    click.echo(f"re-encrypted {rotation.changed} of {plural(rotation.total, 'key')} in {where}")
    click.echo(f"the newest encryption key is {rotation.newest}")
    if rotation.droppable:
        click.echo("may be dropped, for nothing here is under them (older backups still are):")
    for key in rotation.droppable:
        click.echo(f"  {key}")
    if rotation.needed:
        click.echo("still needed, for what was written under them meanwhile; run this again:")
    for key, count in rotation.needed.items():
        click.echo(f"  {key}: {plural(count, 'key')}")
