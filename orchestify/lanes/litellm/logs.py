"""What LiteLLM does with logging: prompts it writes, and filters it puts on others' loggers."""

from __future__ import annotations

import logging

from orchestify.lanes.litellm.exchange import EXCHANGE

# LiteLLM's own loggers, and those of its clients that write prompts, headers, URLs or signatures.
_WRITE_PROMPTS = (
    "LiteLLM",
    "LiteLLM Proxy",
    "LiteLLM Router",
    "botocore.auth",
    "botocore.endpoint",
    "httpcore.http11",
    "httpcore.http2",
    "httpx",
    "openai._base_client",
    "openai._legacy_response",
    "openai._response",
)
_POOLS = ("ThreadPoolExecutor", "litellm-")  # how the threads of its pools are called

# Where LiteLLM 1.105 to 1.110 puts a filter of its own in the first moments of its import.
_FILTERED = (
    "apscheduler.executors.default",
    "apscheduler.scheduler",
    "asyncio",
    "backoff",
    "httpx",
    "uvicorn.access",
    "uvicorn.error",
)


def drop_prompts() -> None:
    """Drop, on every level, what is logged during our calls; a host's own are left alone.

    LiteLLM ends a call in its thread pool, where nobody can tell whose it was: there all is
    dropped.
    """
    for name in _WRITE_PROMPTS:
        _put_first(name, _is_not_ours)


class ImportFilter:
    """Delivers a host's records past LiteLLM's filters while that is imported in a thread.

    Those filters import parts of LiteLLM that are not there yet: the host's call to logging would
    raise KeyError, and the import itself end in a deadlock.
    """

    def __init__(self) -> None:
        self.is_importing = False

    def install(self) -> None:
        """Put it before all other filters of the loggers that LiteLLM filters."""
        self.is_importing = True
        for name in _FILTERED:
            _put_first(name, self)

    def end(self, *, failed: bool) -> None:
        """Leave the records alone again; after an import that failed LiteLLM's filters go."""
        for name in _FILTERED if failed else ():
            logger = logging.getLogger(name)
            logger.filters = [each for each in logger.filters if not _is_litellms(each)]
        self.is_importing = False

    def __call__(self, record: logging.LogRecord) -> bool:
        """Deliver a record, or let it go its way where nothing is being imported."""
        if not self.is_importing:
            return True
        logger, others = logging.getLogger(record.name), logging.Filterer()
        others.filters = [e for e in logger.filters if e is not self and not _is_litellms(e)]
        kept = others.filter(record)  # from Python 3.12 on it may be another record
        if kept:
            logger.callHandlers(record if kept is True else kept)
        return False


def _put_first(name: str, own: logging._FilterType) -> None:
    """Put a filter before those of a logger; LiteLLM's would already render the message."""
    filters = logging.getLogger(name).filters
    if own not in filters:
        filters.insert(0, own)


def _is_litellms(each: object) -> bool:
    return type(each).__module__.startswith("litellm")


def _is_not_ours(record: logging.LogRecord) -> bool:
    return EXCHANGE.get() is None and not (record.threadName or "").startswith(_POOLS)
