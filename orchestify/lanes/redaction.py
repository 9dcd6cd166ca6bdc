"""What must not stand in an error: keys, and what the caller wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestify.core.providers import ProviderConfig
from orchestify.lanes.parsing import encodable_text
from orchestify.resources.terminal_text import without_controls
from orchestify.values import CompletionRequest, LLMMessage, TextPart

MESSAGE_CHARS = 300

# Prefixes that providers give their keys, and what stands behind `Bearer` or `api_key=`.
KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|csk|xai|pplx|hf|nvapi|tgp|fw|r8)[-_][\w*.\-]{6,}"
    r"|\bAIza[\w\-]{20,}|\beyJ[\w\-]{8,}\.[\w\-.]+"
    r"|(?i:\bbearer\s+)(?=[\w*.\-]*[\d*\-_])[\w*.\-+/=]{8,}"
    r"|(?i:\b(?:api[-_]?key|x-api-key|token|secret|password)\s*[=:]\s*)[\"']?[\w*.\-+/=]{8,}"
)
_SPACES = re.compile(r"\s+")
_SECRET_OPTION = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_SECRET_CHARS = 8  # what is shorter is no key
_ECHO_CHARS = 16
_BLOCK = _ECHO_CHARS // 2


def secrets_of(config: ProviderConfig) -> list[str]:
    """Return what of a provider's configuration must be struck out of messages."""
    values = [value.get_secret_value() for value in config.headers.values()]
    values += [value.rpartition(" ")[2] for value in values]
    values += [
        value
        for name, value in config.options.items()
        if isinstance(value, str) and _SECRET_OPTION.search(name)
    ]
    found = [value for value in values if len(value) >= _SECRET_CHARS]
    return found + ([config.api_key.get_secret_value()] if config.api_key else [])


def redact(text: str, keys: Iterable[str] = (), request: CompletionRequest | None = None) -> str:
    """Strike out keys, what looks like a key, and echoes of the prompt; at most 300 characters.

    Characters that a terminal obeys are left out, since errors are logged and printed.
    An echo is a run of 16 characters or more that also stands in the request's messages.
    """
    text = without_controls(_SPACES.sub(" ", text))
    for key in sorted(filter(None, keys), key=len, reverse=True):
        if len(key) >= _SECRET_CHARS:
            text = text.replace(key, "***")
        else:  # a word such as servers without keys are given: no part of another word
            text = re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "***", text)
    text = encodable_text(text[: 4 * MESSAGE_CHARS].strip())
    text = KEY_LIKE.sub("***", text)
    if request is not None:
        text = _without_echo(text, "\n".join(_written(request.messages)))
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 3] + "..."


def written_chars(request: CompletionRequest) -> int:
    """Return about how many characters of a request an error's message is searched for."""
    return sum(len(text) for text in _written(request.messages))


def _written(messages: Iterable[LLMMessage]) -> Iterable[str]:
    """Yield what stands in messages, its white space as in a redacted text."""
    for message in messages:
        yield " ".join(message.text.split())
        if not isinstance(message.content, str):
            yield from (part.data_url for part in message.content if not isinstance(part, TextPart))
        for call in message.tool_calls:
            yield " ".join((call.raw_arguments or "").split())


def _without_echo(text: str, written: str) -> str:
    """Replace every run of 16 characters or more that stands in `written`.

    Each run holds a whole block of 8 that begins at a multiple of 8 of `written`; those that are
    also somewhere in the text are looked at closely. The time grows as `written` does.
    """
    parts = {text[at : at + _BLOCK] for at in range(len(text) - _BLOCK + 1)}
    near = {
        written[max(0, at - _BLOCK) : at + _ECHO_CHARS]
        for at in range(0, len(written), _BLOCK)
        if written[at : at + _BLOCK] in parts
    }
    runs = {text[at : at + _ECHO_CHARS] for at in range(len(text) - _ECHO_CHARS + 1)}
    left = set(runs)
    for each in near:
        left.difference_update([each[at : at + _ECHO_CHARS] for at in range(_BLOCK + 1)])
        if not left:
            break
    echoes = runs - left
    struck = bytearray(len(text))
    for at in range(len(text) - _ECHO_CHARS + 1):
        if text[at : at + _ECHO_CHARS] in echoes:
            struck[at : at + _ECHO_CHARS] = b"\1" * _ECHO_CHARS
    kept = "".join("\0" if hit else char for char, hit in zip(text, struck, strict=True))
    return re.sub("\0+", "[...]", kept)
