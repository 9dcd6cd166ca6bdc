"""Optional parts that are missing: the error, with the command that installs them here.

What was installed from a checkout, a wheel or a repository is in no package index; where it came
from stands beside the package, in `direct_url.json`.
Source: PyPA specifications, "Recording the Direct URL Origin of installed distributions".
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from orchestify.errors import MissingExtraError

_PACKAGE = "orchestify"


def missing_extra(needs: str, extra: str) -> MissingExtraError:
    """Return the error of a part that is not installed; `needs` says who needs what."""
    return MissingExtraError(f"{needs}: {install_command(extra, _direct_url())}")


def install_command(extra: str, direct_url: str | None) -> str:
    """Return the command that installs an extra, where `direct_url` is the text of that file.

    None, and what cannot be read, mean a package index.
    """
    url, kind = _origin(direct_url)
    if kind is None:
        return f'pip install "{_PACKAGE}[{extra}]"'
    if "dir_info" in kind:
        option = "-e " if kind["dir_info"].get("editable") else ""
        return f'pip install {option}"{url2pathname(urlsplit(url).path)}[{extra}]"'
    if "vcs_info" in kind:
        vcs = kind["vcs_info"]
        revision = vcs.get("requested_revision") or vcs.get("commit_id")
        url = f"{vcs.get('vcs', 'git')}+{url}{f'@{revision}' if revision else ''}"
    return f'pip install "{_PACKAGE}[{extra}] @ {url}"'


def _origin(direct_url: str | None) -> tuple[str, dict[str, Any] | None]:
    """Return the address that the package came from and the whole entry, None from an index."""
    try:
        entry = json.loads(direct_url or "null")
    except ValueError:
        return "", None
    url = entry.get("url") if isinstance(entry, dict) else None
    return (url, entry) if isinstance(url, str) and url else ("", None)


def _direct_url() -> str | None:
    try:
        return distribution(_PACKAGE).read_text("direct_url.json")
    except (PackageNotFoundError, OSError):
        return None
