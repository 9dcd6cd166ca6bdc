"""Tokens of tenants and their scopes: made once, stored as hashes, looked up by their id."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from pydantic import SecretStr
from sqlalchemy import Connection, RowMapping, Update, func, insert, or_, select, update

from orchestify.database.sql import Database
from orchestify.errors import ConflictError, InvalidParameterError, NotFoundError
from orchestify.ledger.record import new_id, utc_now
from orchestify.server.rows.stored_rows import Page
from orchestify.server.storage import queries
from orchestify.server.storage.audit import Actor, write_audit
from orchestify.server.storage.tables import api_tokens

Scope: TypeAlias = Literal["call", "read", "write", "admin"]

SCOPES: tuple[Scope, ...] = ("call", "read", "write", "admin")
"""`call` models through the gateway, `read` rows and usage, `write` rows; `admin` has them all."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is from; `token_id` is empty while the service runs open."""

    tenant_id: str
    token_id: str
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        """Say whether its token has a scope; `admin` includes all."""
        return scope in self.scopes or "admin" in self.scopes

    @property
    def actor(self) -> str:
        """What the audit log calls it."""
        return f"token:{self.token_id}" if self.token_id else "open"


_TOKEN = re.compile(r"ork_([0-9a-f]{32})_([0-9a-f]{64})")
_USE_NOTED_EVERY = timedelta(minutes=5)

MOST_LIVE = 1_000
"""Tokens of one tenant that hold; for another, one is revoked first."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as it is stored; of its secret only the hash is."""

    id: str
    tenant_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    secret_hash: str = field(repr=False)

    @property
    def principal(self) -> Principal:
        """Who asks with it."""
        return Principal(self.tenant_id, self.id, frozenset(self.scopes))

    def invalid_reason(self, now: datetime) -> str:
        """Say why it does not hold at `now`; empty where it does."""
        if self.revoked_at is not None:
            return "revoked"
        is_over = self.expires_at is not None and self.expires_at <= now
        return "expired" if is_over else ""

    def is_use_recent(self, now: datetime) -> bool:
        """Whether a use at `now` need not be noted: one was in the last five minutes."""
        return self.last_used_at is not None and now - self.last_used_at < _USE_NOTED_EVERY

    def matches(self, secret: str) -> bool:
        """Compare a secret with the hash, in constant time."""
        return hmac.compare_digest(_hash(secret), self.secret_hash)


class Tokens:
    """The table of tokens; every change of it is in the audit log, in the same transaction."""

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    def create(
        self,
        tenant: str,
        scopes: Iterable[str],
        *,
        name: str = "",
        expires_at: datetime | None = None,
        actor: Actor,
    ) -> tuple[TokenRow, SecretStr]:
        """Make a token of a tenant, who begins with it where there is none; return it this once.

        Raises:
            InvalidParameterError: a scope that does not exist, none at all, or no tenant's name.
            ConflictError: the tenant has as many tokens that hold as it may have.
            StoreError: the database could not be written.
        """
        held = _checked(scopes)
        secret = secrets.token_hex(32)
        row = TokenRow(
            new_id(), tenant, name, held, self._now(), expires_at, None, None, _hash(secret)
        )

        def write(connection: Connection) -> None:
            queries.add_tenant(connection, tenant)
            _check_room(connection, tenant, row.created_at)
            values = {name: getattr(row, name) for name in _COLUMNS}
            connection.execute(insert(api_tokens).values({**values, "scopes": " ".join(held)}))
            detail = {"name": name, "scopes": list(held)}
            _audit(connection, actor, "token.create", row, detail)

        self._database.run(write)
        return row, SecretStr(f"ork_{row.id}_{secret}")

    def list(
        self, tenant: str | None = None, *, limit: int = 50, after: str | None = None
    ) -> Page[TokenRow]:
        """Return tokens in the order they were made, of one tenant or of all.

        Raises:
            StoreError: the database could not be read.
        """
        query = select(api_tokens).order_by(api_tokens.c.id).limit(limit + 1)
        if tenant is not None:
            query = query.where(api_tokens.c.tenant_id == tenant)
        if after is not None:
            query = query.where(api_tokens.c.id > after)
        rows = self._database.run(
            lambda connection: [_row(each) for each in connection.execute(query).mappings()],
            read_only=True,
        )
        return Page(tuple(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)

    def revoke(self, token_id: str, *, tenant: str | None = None, actor: Actor) -> TokenRow:
        """Revoke a token, for good; one that was revoked before stays as it is.

        Raises:
            NotFoundError: there is none with this id, or it is another tenant's.
            StoreError: the database could not be written.
        """

        def write(connection: Connection) -> TokenRow:
            row = _found(connection, token_id)
            if row is None or tenant not in (None, row.tenant_id):
                raise NotFoundError("there is no such token")
            if row.revoked_at is None:
                connection.execute(_changed(row.id, revoked_at=self._now()))
                _audit(connection, actor, "token.revoke", row, {"name": row.name})
            return _found(connection, token_id) or row

        return self._database.run(write)

    def find(self, token_id: str) -> TokenRow | None:
        """Return the token with an id.

        Raises:
            StoreError: the database could not be read.
        """
        return self._database.run(lambda connection: _found(connection, token_id), read_only=True)

    def exist(self) -> bool:
        """Say whether any token was ever made.

        Raises:
            StoreError: the database could not be read.
        """
        query = select(api_tokens.c.id).limit(1)
        return self._database.run(
            lambda connection: connection.execute(query).first() is not None, read_only=True
        )

    def record_use(self, row: TokenRow) -> None:
        """Note that a token is being used.

        Raises:
            StoreError: the database could not be written.
        """
        change = _changed(row.id, last_used_at=self._now())
        self._database.run(lambda connection: connection.execute(change))


def parse_token(text: str) -> tuple[str, str] | None:
    """Return the id and the secret that a token holds; None where it is not one of ours."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else (found[1], found[2])


def compare_with_dummy(secret: str) -> None:
    """Take as long as for a token that exists."""
    hmac.compare_digest(_hash(secret), "0" * 64)


_COLUMNS = tuple(column.name for column in api_tokens.c)


def _hash(secret: str) -> str:
    """Return a secret's hash; one of 256 random bits needs neither salt nor many rounds."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(scopes: Iterable[str]) -> tuple[str, ...]:
    asked = set(scopes)
    unknown = sorted(asked.difference(SCOPES))
    if unknown or not asked:
        what = f"no scope {unknown[0]!r}" if unknown else "a token needs a scope"
        raise InvalidParameterError(f"{what}; choose from {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in asked)


def _check_room(connection: Connection, tenant: str, now: datetime) -> None:
    columns = api_tokens.c
    live = select(func.count()).where(
        columns.tenant_id == tenant,
        columns.revoked_at.is_(None),
        or_(columns.expires_at.is_(None), columns.expires_at > now),
    )
    if (connection.scalar(live) or 0) >= MOST_LIVE:
        raise ConflictError(
            f"the tenant has {MOST_LIVE:,} tokens that hold, and no more are possible; revoke one"
        )


def _found(connection: Connection, token_id: str) -> TokenRow | None:
    query = select(api_tokens).where(api_tokens.c.id == token_id)
    found = connection.execute(query).mappings().first()
    return None if found is None else _row(found)


def _row(columns: RowMapping) -> TokenRow:
    values = {name: columns[name] for name in _COLUMNS}
    return TokenRow(**{**values, "scopes": tuple(columns["scopes"].split())})


def _changed(token_id: str, **values: datetime) -> Update:
    return update(api_tokens).where(api_tokens.c.id == token_id).values(values)


def _audit(
    connection: Connection, actor: Actor, action: str, row: TokenRow, detail: Mapping[str, object]
) -> None:
    target = f"api_tokens/{row.id}"
    write_audit(connection, actor, action, target, tenant=row.tenant_id, detail=detail)
