"""`orchestify keys`: the vault."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestify.cli.options import config_option, find_database, json_option
from orchestify.cli.output import plural, print_json, show_table

if TYPE_CHECKING:
    from orchestify.vault import EncryptionKey, Rotation, StoredKey, Vault

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLE = "ORCHESTIFY_ENCRYPTION_KEYS"
_ON_THE_COMMAND_LINE = (
    "a key is not given on the command line, where history and other users see it; "
    "leave it out to be asked for it, or write it to standard input"
)
_GENERATED = f"""\
A new encryption key. Keep it: without it every stored key is lost.
  export {_VARIABLE}="KEY"
Where there is one already, change it in this order:
  1. {_VARIABLE}="OLD,KEY" on every machine
  2. {_VARIABLE}="KEY,OLD" on every machine
  3. `orchestify keys rotate`, which says what may be dropped
  4. {_VARIABLE}="KEY"
It is shown this once:"""


def _vault_options(command: F) -> F:
    """Add `--vault WHERE` and `--config PATH`."""
    return click.option(
        "--vault",
        "where",
        metavar="WHERE",
        help="A file, or a database's URL; else ORCHESTIFY_VAULT, else .orchestify/vault.json "
        "in the configuration's folder, as config/.orchestify/vault.json.",
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

    click.echo(_GENERATED)
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
    Without --vault it lists every vault that it finds: the configuration's file,
    ORCHESTIFY_VAULT, and the service's database, where it counts the tenants' keys too.
    """
    with _all_opened(where, path) as vaults:
        found = [(vault.where, vault.list(), vault.tenants_keys()) for vault in vaults]
    if as_json:
        print_json([_plain(*each) for each in found])
        return
    for each in found:
        _show_stored(*each)


@command.command("rotate", short_help="Encrypt everything under the newest encryption key.")
@_vault_options
def rotate_command(where: str | None, path: Path) -> None:
    """Encrypt everything under the newest encryption key, and say which others may be dropped.

    Without --vault it takes every vault that it finds: the configuration's file,
    ORCHESTIFY_VAULT, and the service's database (ORCHESTIFY_DATABASE, or .orchestify/service.db
    in the current folder) with the keys of its tenants. Each changes in one step of its own: if
    it is interrupted, run it again.
    """
    rotations = []
    with _all_opened(where, path) as vaults:
        for vault in vaults:
            rotation = vault.rotate()
            _show_rotation(rotation, vault.where)
            rotations.append(rotation)
    _show_advice(rotations, where)


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

    with contextlib.closing(open_vault(where, base_dir=_folder(path))) as vault:
        yield vault


@contextlib.contextmanager
def _all_opened(where: str | None, path: Path) -> Iterator[Sequence[Vault]]:
    """Open the vault that is named, or all that are found."""
    from orchestify.vault import find_vaults, open_vault  # noqa: PLC0415 - as above

    if where is not None:
        vaults: Sequence[Vault] = [open_vault(where, base_dir=_folder(path))]
    else:
        vaults = find_vaults(find_database(), base_dir=_folder(path))
    with contextlib.ExitStack() as opened:
        for vault in vaults:
            opened.enter_context(contextlib.closing(vault))
        yield vaults


def _folder(path: Path) -> Path:
    """Return the folder of the configuration at a path."""
    is_file = path.is_file() or path.suffix in {".yaml", ".yml"}
    return path.parent if is_file else path


def _key_given() -> str:
    """Return the key from a hidden prompt, or from standard input where that is no terminal."""
    if sys.stdin.isatty():
        return str(click.prompt("Key", hide_input=True, err=True))
    return sys.stdin.read().strip("\r\n")


def _plain(
    where: str, stored: Sequence[StoredKey], tenants: dict[EncryptionKey | None, int]
) -> dict[str, Any]:
    counts = [{"key": key, "count": number} for key, number in tenants.items()]
    return {"where": where, "keys": stored, "tenants_keys": counts}


def _show_stored(
    where: str, stored: Sequence[StoredKey], tenants: dict[EncryptionKey | None, int]
) -> None:
    if stored:
        rows = [
            (each.name, each.fingerprint or "?", f"{each.set_at:%Y-%m-%d %H:%M}", _under(each.key))
            for each in stored
        ]
        columns = ("name", "fingerprint", "set at (UTC)", "under")
        show_table(f"Keys in {where}", columns, rows, spare=("set at (UTC)", "fingerprint"))
    elif not tenants:
        click.echo(f"no keys in {where}")
    for key, number in tenants.items():
        click.echo(f"{plural(number, 'key')} of tenants in {where}: under {_under(key)}")


def _under(key: EncryptionKey | None) -> str:
    return key.short if key else "no encryption key that is set"


def _show_rotation(rotation: Rotation, where: str) -> None:
    if not rotation.total:
        click.echo(f"no keys in {where}; nothing to rotate")
        return
    click.echo(f"re-encrypted {rotation.changed} of {plural(rotation.total, 'key')} in {where}")
    for key, number in rotation.needed.items():
        click.echo(
            f"  {plural(number, 'key')} written meanwhile under {key}; run this again, it is needed"
        )


def _show_advice(rotations: Sequence[Rotation], where: str | None) -> None:
    """Say which encryption keys may be dropped, as far as this run can know."""
    from orchestify.vault import together  # noqa: PLC0415 - as above

    rotation = together(rotations)
    if not rotation.total:
        return
    click.echo(f"the newest encryption key is {rotation.newest}")
    if not rotation.changed:
        for key in rotation.droppable:
            click.echo(
                f"{key.short} is used by nothing here; if it is the new one, put it first and "
                "rotate again; drop it only if it is the old one"
            )
    elif where is not None and rotation.droppable:
        click.echo(f"needed by nothing in {where}; other vaults were not looked at:")
        click.echo("".join(f"  {key}\n" for key in rotation.droppable), nl=False)
        click.echo("`orchestify keys rotate` without --vault says what may be dropped")
    elif rotation.droppable:
        click.echo("may be dropped, for nothing here is under them (older backups still are):")
        click.echo("".join(f"  {key}\n" for key in rotation.droppable), nl=False)
