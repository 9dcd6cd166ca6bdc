"""An import of LiteLLM that fails, and what is logged while it is imported."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import metadata

import pytest

from orchestify.lanes.litellm.loading import import_failure
from orchestify.lanes.litellm.logs import ImportFilter


class BrokenFilter(logging.Filter):
    """A filter as LiteLLM's is while its parts are not there yet."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise KeyError("litellm")


BrokenFilter.__module__ = "litellm._logging"


class Dropping(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "unwanted" not in record.getMessage()


@pytest.fixture
def importing() -> Iterator[ImportFilter]:
    """A filter on the logger `asyncio` during an import, before LiteLLM's own and a host's."""
    made = ImportFilter()
    logger = logging.getLogger("asyncio")
    before = list(logger.filters)
    made.install()
    logger.filters += [BrokenFilter(), Dropping()]
    yield made
    made.end(failed=True)
    logger.filters = before


def test_an_import_that_fails_names_what_is_installed_and_the_command_that_mends_it() -> None:
    told = str(import_failure(AttributeError("no attribute 'x'")))
    assert told.startswith(f"litellm {metadata.version('litellm')} cannot be imported (Attrib")
    assert "litellm!=1.106.*,!=1.82.7,!=1.82.8,<1.111,>=1.105.3" in told
    assert told.endswith('>=1.105.3"')
    assert ': pip install --upgrade "litellm!=' in told


def test_a_host_logs_while_litellm_is_imported(
    importing: ImportFilter, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="asyncio"):
        logging.getLogger("asyncio").info("wanted %s", "once")
        logging.getLogger("asyncio").info("unwanted")
    assert [record.getMessage() for record in caplog.records] == ["wanted once"]


def test_litellms_filters_work_again_when_it_is_imported(importing: ImportFilter) -> None:
    importing.end(failed=False)
    with pytest.raises(KeyError):
        logging.getLogger("asyncio").warning("it is LiteLLM's again")


def test_of_an_import_that_failed_no_filter_is_left(
    importing: ImportFilter, caplog: pytest.LogCaptureFixture
) -> None:
    importing.end(failed=True)
    logging.getLogger("asyncio").warning("nothing is raised")
    assert caplog.messages == ["nothing is raised"]
