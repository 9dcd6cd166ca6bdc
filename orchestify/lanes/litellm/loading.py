"""The import of LiteLLM: in a thread, since it takes seconds, and once a process.

A call waits for it without holding up the event loop. The garbage collector is off meanwhile, and
what the import made is frozen (`gc.freeze`): both concern the whole process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from concurrent.futures import Future
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

from orchestify.errors import MissingExtraError
from orchestify.lanes.litellm.logs import ImportFilter, drop_prompts

# Read by LiteLLM while it is imported: no price map or beta headers from the network, no `.env`.
ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",
}
IMPORT_TRIES = 5  # a host that imports a submodule of it at the same time makes both imports fail
IMPORT_PAUSE_S = 0.5

_lock = threading.Lock()
_importing: Future[Any] | None = None
_filter = ImportFilter()


def begin_import() -> Future[Any]:
    """Begin to import LiteLLM in a thread, unless that was begun; return what will hold it."""
    global _importing  # noqa: PLW0603 - one import a process
    with _lock:
        if _importing is None or (_importing.done() and _importing.exception() is not None):
            _importing = Future()
            _importing.set_running_or_notify_cancel()  # who waits for it cannot cancel it
            threading.Thread(target=_import, args=(_importing,), daemon=True).start()
        return _importing


async def load() -> Any:
    """Return LiteLLM, once it is imported.

    Raises:
        MissingExtraError: it cannot be imported.
    """
    importing = begin_import()
    return importing.result() if importing.done() else await asyncio.wrap_future(importing)


def load_clients() -> ModuleType | None:
    """Return the module that makes clients, None where this release has no room for them."""
    with contextlib.suppress(ImportError, AttributeError):
        return import_module("orchestify.lanes.litellm.clients")
    return None


def clients_fit() -> bool:
    """Whether the LiteLLM that is loaded has room for our clients; True while none is loaded."""
    return "litellm" not in sys.modules or load_clients() is not None


def import_failure(error: BaseException) -> MissingExtraError:
    """Say which LiteLLM is installed, which is asked for, and the command that brings it."""
    try:
        installed = f"litellm {metadata.version('litellm')} cannot be imported"
    except metadata.PackageNotFoundError:
        installed = "litellm is not installed"
    wanted = next(
        (each for each in metadata.requires("orchestify") or () if each.startswith("litellm")),
        "litellm",
    )
    return MissingExtraError(
        f"{installed} ({type(error).__name__}: {error}); orchestify takes {wanted}: "
        f'pip install --upgrade "{wanted}"'
    )


def _import(importing: Future[Any]) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    drop_prompts()
    _filter.install()
    try:
        litellm = _import_patiently()
    except BaseException as error:
        _filter.end(failed=True)
        importing.set_exception(import_failure(error))
        return
    _filter.end(failed=False)
    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    litellm.telemetry = False
    importing.set_result(litellm)


def _import_patiently() -> Any:
    collects = gc.isenabled()
    gc.disable()
    try:
        for left in reversed(range(IMPORT_TRIES)):
            try:
                import litellm  # noqa: PLC0415 - it takes seconds
            except ImportError:
                if not left:
                    raise
                time.sleep(IMPORT_PAUSE_S)
            else:
                load_clients()
                return litellm
    finally:
        gc.freeze()
        if collects:
            gc.enable()
