"""An event of a stream of Messages or of Responses, as it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestify.lanes.large_json import LargeObject
from orchestify.resources.json_steps import json_text


def event_text(event: Mapping[str, Any]) -> str:
    """Return an event, named by its type; what is large is written in steps."""
    is_large = isinstance(event, LargeObject)
    written = json_text(event, ascii_only=True) if is_large else json.dumps(event)
    return f"event: {event.get('type')}\ndata: {written}\n\n"
