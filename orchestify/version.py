"""The version that is installed."""

from __future__ import annotations


def version() -> str:
    """Return the installed version; a checkout that was never installed has none."""
    from importlib import metadata  # noqa: PLC0415 - slow to import

    try:
        return metadata.version("orchestify")
    except metadata.PackageNotFoundError:
        return "0+unknown"
