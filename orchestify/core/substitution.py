"""Substitution in one part of a configuration: variables, and keys from the vault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr

from orchestify.core.problems import KeyPath, did_you_mean
from orchestify.core.scalars import reread
from orchestify.core.variables import (
    MALFORMED,
    NOT_SUBSTITUTED,
    Variables,
    is_foreign_variable,
)
from orchestify.errors import OrchestifyError, VaultError

if TYPE_CHECKING:
    from orchestify.vault import Reading

REFERENCE = "vault:"

_KEY, _KEYS = "api_key", "api_keys"
_IN_VAULT = object()  # stands in a list for a key of the vault


@dataclass(slots=True)
class VaultKeys:
    """The vault that `api_key: vault:NAME` is taken from, opened for the first of them.

    What ORCHESTIFY_VAULT and the encryption keys are is in `environ`; `folder` is the
    configuration's, for the vault that stands beside it.
    """

    environ: Mapping[str, str] = field(repr=False)
    folder: Path | None = None
    _reading: Reading | None = None
    _problem: str = ""

    def find(self, name: str) -> SecretStr | str:
        """Return the key of that name, or a sentence that says why there is none.

        Raises:
            VaultError: no name, a vault that cannot be read, or a key that cannot be decrypted.
        """
        from orchestify.vault import is_name  # noqa: PLC0415 - cryptography is slow to import

        if not is_name(name):
            raise VaultError(
                "a key of the vault is written vault:NAME, without variables; a name has letters, "
                "digits, dots, dashes and underscores"
            )
        reading = self._read()
        found = reading.find(name)
        return found or reading.absence(name) + did_you_mean(name, reading.entries or ())

    def _read(self) -> Reading:
        from orchestify.vault import open_vault  # noqa: PLC0415 - as above

        if self._reading is None and not self._problem:
            try:
                vault = open_vault(base_dir=self.folder or Path(), environ=self.environ)
                with contextlib.closing(vault):
                    self._reading = vault.read()
            except OrchestifyError as error:
                self._problem = str(error)
        if self._reading is None:
            raise VaultError(self._problem)
        return self._reading


class Substituted(NamedTuple):
    """A part's values after substitution.

    `unset` names the variables and keys that are not there. `found` is what is wrong, and where;
    any other mistake at or below a path of `missing_at` follows from that.
    """

    values: Any
    unset: tuple[str, ...]
    found: list[tuple[KeyPath, str]]
    missing_at: list[KeyPath]


def substitute(
    values: Any, variables: Variables, vault: VaultKeys, path: KeyPath = ()
) -> Substituted:
    """Substitute the variables and, where a key's text itself is `vault:NAME`, the key.

    What is not there is no problem of a part that is off without it; of one that is off anyway,
    the vault is not asked. A variable that holds `vault:NAME` refers to nothing.
    """
    references = dict(_references(values))
    part = _with_variables(_without(values, references), variables, path)
    if not references:
        return part
    if reread(part.values.get("enabled")) is False:
        return part._replace(values=_with_keys(part.values, {}))
    keys: dict[KeyPath, SecretStr] = {}
    for place, reference in references.items():
        at = (*path, *place)
        try:
            found = vault.find(reference.removeprefix(REFERENCE))
        except VaultError as error:
            part.found.append((at, str(error)))
            part.missing_at.append(at)
            continue
        if isinstance(found, SecretStr):
            keys[place] = found
            continue
        if not may_be_lacking(part.values):
            part.found.append((at, found))
        part.missing_at.append(at)
        part = part._replace(unset=(*part.unset, reference))
    return part._replace(values=_with_keys(part.values, keys))


def _references(values: Any) -> Iterator[tuple[KeyPath, str]]:
    """Iterate over the keys that are in the vault: their places in the part, and their texts."""
    if not isinstance(values, Mapping):
        return
    keys = values.get(_KEYS)
    written: list[tuple[KeyPath, Any]] = [((_KEY,), values.get(_KEY))]
    written += [((_KEYS, index), key) for index, key in _numbered(keys)]
    for place, text in written:
        if isinstance(text, str) and text.startswith(REFERENCE):
            yield place, text


def _numbered(values: Any) -> list[tuple[int, Any]]:
    return list(enumerate(values)) if isinstance(values, (list, tuple)) else []


def _without(values: Any, places: Mapping[KeyPath, str]) -> Any:
    """Return the part with the keys at these places left out; in a list something stands there."""
    if not places:
        return values
    rest = {key: value for key, value in values.items() if (key,) not in places}
    if _KEYS in rest:
        rest[_KEYS] = [
            _IN_VAULT if (_KEYS, index) in places else key for index, key in _numbered(rest[_KEYS])
        ]
    return rest


def _with_keys(values: Any, keys: Mapping[KeyPath, SecretStr]) -> Any:
    """Return the part with the keys that were found; what stands for the others is left out."""
    filled = {**values, **{place[0]: key for place, key in keys.items() if len(place) == 1}}
    if _KEYS in filled:
        found = iter([key for place, key in keys.items() if len(place) > 1])
        listed = [next(found, None) if key is _IN_VAULT else key for key in filled[_KEYS]]
        filled[_KEYS] = [key for key in listed if key is not None]
    return filled


def may_be_lacking(values: Any) -> bool:
    """Say whether variables or keys may be missing, because the part is off or `enabled: auto`."""
    enabled = reread(values.get("enabled")) if isinstance(values, Mapping) else None
    return enabled is False or enabled == "auto"


def _with_variables(values: Any, variables: Variables, path: KeyPath) -> Substituted:
    substituted = variables.substitute(values, path)
    found: list[tuple[KeyPath, str]] = [(at, MALFORMED) for at in variables.malformed]
    found += [(at, NOT_SUBSTITUTED) for at in _foreign_at(values, path)]
    if not may_be_lacking(substituted):
        found += [(at, f"variable {name} is not set") for at, name in variables.unset]
    missing_at = [*variables.malformed, *(at for at, _ in variables.unset)]
    return Substituted(substituted, variables.unset_names, found, missing_at)


def _foreign_at(values: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Iterate where a key, or a header that may hold one, is a variable of another notation."""
    if not isinstance(values, Mapping):
        return
    if is_foreign_variable(values.get(_KEY)):
        yield (*path, _KEY)
    for index, key in _numbered(values.get(_KEYS)):
        if is_foreign_variable(key):
            yield (*path, _KEYS, index)
    headers = values.get("headers")
    for name, text in headers.items() if isinstance(headers, Mapping) else ():
        if is_foreign_variable(text):
            yield (*path, "headers", name)
