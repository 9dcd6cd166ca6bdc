from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestify.errors import LedgerError
from orchestify.ledger.sql.spool import Spool
from orchestify.resources.file_permissions import make_folder, make_private
from tests.ledgers import opened


@pytest.fixture(autouse=True)
def open_to_all() -> Iterator[None]:
    """A umask that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_and_its_folder_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / ".orchestify" / "service.db"
    make_private(path)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    path.write_text("held")
    path.chmod(0o640)
    make_private(path)
    assert (path.read_text(), mode(path)) == ("held", 0o640)


def test_our_own_folder_alone_is_kept_out_of_git(tmp_path: Path) -> None:
    make_folder(tmp_path / ".orchestify")
    make_folder(tmp_path / "keys")
    assert (tmp_path / ".orchestify" / ".gitignore").read_text() == "*\n"
    assert list((tmp_path / "keys").iterdir()) == []


def test_records_that_wait_are_read_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / ".orchestify" / "spool.db"
    spool = Spool(path)
    spool.add("someone", [opened()], [])
    modes = {mode(each) for each in path.parent.glob("spool.db*")}
    assert spool.count() == 1
    assert (modes, mode(path.parent)) == ({0o600}, 0o700)
    spool.dispose()


def test_a_spool_that_cannot_be_made_is_an_error_of_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "spool.db")
    with pytest.raises(LedgerError, match=r"spool\.db cannot be made: "):
        spool.add("someone", [opened()], [])
    spool.dispose()
