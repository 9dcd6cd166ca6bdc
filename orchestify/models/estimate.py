"""How many tokens a request or a text has, without a network and without a tokenizer.

For budgets and rate limits before a call, and for streams that were cut: about 25 µs for a
kilobyte. What a provider reports is always preferred.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from orchestify.values import FilePart, ImagePart, LLMMessage, ResponseFormat, Tool, ToolCall

# What a byte pair encoding makes one token of, nearly: a word, or eleven letters of a long one;
# three digits; four punctuation marks; a deeper indent; a few letters of other alphabets; one
# character of Chinese, Japanese or Korean, one emoji. Fitted with o200k_base (tiktoken): in sum,
# 257 recorded texts come out 3 % low, 137 tool schemas 6 % and Python sources 12 %; Chinese,
# Japanese and Korean up to half too high for the newest encodings.
_PIECE = re.compile(
    r"[A-Za-zÀ-ɏ]{1,11}"
    r"|[0-9]{1,3}"
    r"|[\U00010000-\U0010ffff]"
    r"|[^\w\s]{1,4}"
    r"|\n[ \t]{2,}"
    r"|[ɐ-\u2e7f]{1,4}"
    r"|[^\x00-\u2e7f]"
)
_CHARS_PER_SCHEMA_TOKEN = 5.0  # of str(schema): the median of 137 recorded tool schemas
_TOKENS_PER_TOOL_CALL = 20  # a call's or a result's id and wrapping
_TOKENS_PER_PAGE = 3_000
_BYTES_PER_PAGE = 50_000  # of PDFs whose objects are compressed
_BYTES_PER_TEXT_TOKEN = 3
_PDF_PAGE = re.compile(rb"/Type\s*/Page\b(?!s)")
_COUNTED_WHOLE = 16_000  # characters; a longer text is counted in eight samples
_SAMPLE = 2_000


@dataclass(frozen=True, slots=True)
class Family:
    """What a family of models adds to the text: tokens, and two factors.

    `request` and `message` are added once and for each message, `tools` where there is a tool
    (the provider's own prompt about tools), `tool` for each; `schema` and `text` weigh the
    tokens of tools' schemas and of text against the pieces counted here. `image` is what an
    image of unknown size takes; `image_by` says what a known size changes: see `image_tokens`.
    `error_99` is the 99th percentile of the estimate's error, as a share (docs/estimates.md).
    """

    pattern: str
    request: int = 3
    message: int = 4
    tools: int = 60
    tool: int = 10
    schema: float = 1.2
    text: float = 1.0
    image: int = 1_000
    image_by: Literal["area", "tiles", "count"] = "count"
    error_99: float = 1.1


# Fitted on one half of 773 recorded requests of 25 providers (those whose id's SHA-256 begins with
# an odd byte; Grok's, Nova's and the smaller families on all) and rounded; the first pattern found
# counts. docs/estimates.md has the errors on the other half.
# Known beforehand: OpenAI's 3 a message, 1 its role and 3 a reply (OpenAI Cookbook, "How to count
# tokens with tiktoken"); Claude's prompt about tools, 346 tokens until 4.1 (Anthropic, "Tool use");
# gpt-oss's and Llama 3's system prompts. Images: Anthropic "Vision" (the largest it keeps), OpenAI
# "Images and vision" (1024 x 1024), Gemini "Understand images" (one tile).
FAMILIES = (
    Family(r"claude-(?:v?[23]|instant|(?:opus|sonnet)-4-(?:[01](?!\d)|2\d{7}))",
           5, 3, 330, 5, 1.3, 1.05, 1_600, "area", 0.72),
    Family(r"claude", 4, 3, 480, 30, 1.5, 1.2, 1_600, "area", 0.9),
    Family(r"gpt-oss", 62, 5, 0, 20, 0.9, error_99=0.12),
    Family(r"gpt-5", 2, 4, 0, 10, 0.6, 1.0, 765, "tiles", 0.66),
    Family(r"gpt-|\bo[134]\b", 3, 4, 0, 14, 0.9, 1.0, 765, "tiles"),
    Family(r"gemini|gemma|sonar", 0, 0, 0, 10, 0.5, 1.05, 258, error_99=1.38),
    Family(r"(?:m|min|mag)istral|codestral|devstral|mixtral|pixtral", 0, 3, 35, 0, 0.5, 1.05,
           error_99=2.0),
    Family(r"deepseek", 3, 2, 200, 35, 1.3, error_99=0.9),
    Family(r"grok", 3, 4, 140, 15, 0.9),
    Family(r"nova", 0, 1, 340, 5, 1.5),
    Family(r"llama-?(?:3[.-][1-3]|4)", 30, 5, 560, 35, 1.5, 1.15, error_99=0.37),
    Family(r"llama", 5, 5),
    Family(r"qwen|glm", 3, 5, 90, 12, 1.4, error_99=0.41),
)  # fmt: skip
OTHER = Family("")

_FAMILY = re.compile("|".join(f"({family.pattern})" for family in FAMILIES))


def count_tokens(
    messages: Sequence[LLMMessage],
    tools: Sequence[Tool] = (),
    model: str = "",
    response_format: ResponseFormat | None = None,
) -> int:
    """Return about how many input tokens a request has.

    The median error is a tenth on recordings it was not fitted on. What a provider adds unseen
    is not counted: for thinking, for its own tools, Cohere's preamble.
    """
    family = family_of(model)
    total: float = family.request + family.message * len(messages)
    for message in messages:
        content = message.content
        pieces = _pieces(content if isinstance(content, str) else message.text)
        for call in message.tool_calls:
            pieces += _call_pieces(call)
        if message.thinking is not None:
            pieces += _pieces(message.thinking.text)
        tokens = family.text * pieces
        tokens += _TOKENS_PER_TOOL_CALL * (len(message.tool_calls) + (message.role == "tool"))
        for part in () if isinstance(content, str) else content:
            if isinstance(part, ImagePart):
                tokens += _image_tokens(family, *_png_size(part))
            elif isinstance(part, FilePart):
                tokens += _file_tokens(part)
        total += tokens
    if tools:
        total += family.tools + sum(_tool_tokens(tool, family) for tool in tools)
    if response_format is not None and response_format.schema:
        total += family.schema * len(str(response_format.schema)) / _CHARS_PER_SCHEMA_TOKEN
    return math.ceil(total)


def estimate_output_tokens(texts: Sequence[str], model: str = "") -> int:
    """Return about how many tokens a model wrote, in pieces: of an answer that was cut, say."""
    return math.ceil(family_of(model).text * _pieces(texts))


def image_tokens(model: str, width: int | None = None, height: int | None = None) -> int:
    """Return about how many tokens an image takes; sizes in pixels, None where unknown.

    Claude: width x height / 750 once the longer side is at most 1,568 pixels. GPT: 85, and 170
    for each tile of 512 pixels once the shorter side is at most 768. Gemini and others: one
    figure whatever the size. Sources: as for `FAMILIES`.
    """
    return _image_tokens(family_of(model), width, height)


@lru_cache(maxsize=1_000)
def family_of(model: str) -> Family:
    """Return the family that a model's name belongs to, `OTHER` for names nobody knows."""
    found = _FAMILY.search(model.lower().rsplit("/", 1)[-1])
    return FAMILIES[found.lastindex - 1] if found and found.lastindex else OTHER


def _call_pieces(call: ToolCall) -> int:
    arguments = str(call.arguments) if call.raw_arguments is None else call.raw_arguments
    return _pieces(call.name) + _pieces(arguments)


def _tool_tokens(tool: Tool, family: Family) -> float:
    written = tool.input_schema if tool.server is None else tool.server
    text = _pieces(tool.name) + _pieces(tool.description or "")
    return family.tool + family.schema * (text + len(str(written)) / _CHARS_PER_SCHEMA_TOKEN)


def _image_tokens(family: Family, width: int | None, height: int | None) -> int:
    if not width or not height or family.image_by == "count":
        return family.image
    if family.image_by == "area":
        scale = min(1.0, 1_568 / max(width, height))
        return min(family.image, math.ceil(width * height * scale * scale / 750))
    scale = min(1.0, 2_048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def _file_tokens(file: FilePart) -> int:
    """Return what a PDF takes by its pages, or where these cannot be seen by its size.

    Source: Anthropic, "PDF support": 1,500 to 3,000 tokens a page.
    """
    try:
        content = base64.b64decode(file.data)
    except ValueError:
        content = file.data.encode("utf-8", "replace")
    if file.media_type.startswith("text/"):
        return math.ceil(len(content) / _BYTES_PER_TEXT_TOKEN)
    pages = len(_PDF_PAGE.findall(content)) or math.ceil(len(content) / _BYTES_PER_PAGE)
    return _TOKENS_PER_PAGE * pages


def _pieces(texts: Sequence[str]) -> int:
    """Return the pieces of a text, or of texts as if they were joined: what is long is not."""
    if isinstance(texts, str):
        texts = (texts,)
    length = sum(map(len, texts)) if len(texts) != 1 else len(texts[0])
    if length <= _COUNTED_WHOLE:
        return len(_PIECE.findall("".join(texts)))
    starts = range(0, length - _SAMPLE, length // 8)
    counted = sum(len(_PIECE.findall(sample)) for sample in _samples(texts, starts))
    return counted * length // (_SAMPLE * len(starts))


def _samples(texts: Sequence[str], starts: Iterable[int]) -> Iterator[str]:
    """Yield what stands at `starts`, which rise by more than a sample, in texts put together."""
    waiting, begin = iter(texts), 0
    text = next(waiting)
    for start in starts:
        sample = ""
        while len(sample) < _SAMPLE:
            at = start + len(sample) - begin
            if at < len(text):
                sample += text[at : at + _SAMPLE - len(sample)]
            else:
                begin, text = begin + len(text), next(waiting)
        yield sample


def _png_size(image: ImagePart) -> tuple[int | None, int | None]:
    """Width and height, in a PNG's first 24 bytes; unknown for other formats and for URLs."""
    try:
        head = base64.b64decode((image.data or "")[:32])
    except ValueError:
        return None, None
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        return None, None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
