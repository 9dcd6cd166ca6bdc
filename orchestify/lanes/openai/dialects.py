"""How the endpoints that speak Chat Completions differ, as rows: what is sent, and what is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

Path: TypeAlias = tuple[str, ...]
"""Where a value is: the names that lead to it, through objects within objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFields:
    """Where an endpoint reports tokens: of each count's places the first that is there and not 0.

    `reports` are the places of the whole report in a chunk or an answer; the others are within it.
    `input_audio` counts what the model heard, which may be missing in the prompt.
    """

    reports: tuple[Path, ...] = (("usage",), ("x_groq", "usage"))
    prompt: tuple[Path, ...] = (("prompt_tokens",), ("input_tokens",))
    completion: tuple[Path, ...] = (("completion_tokens",), ("output_tokens",))
    total: tuple[Path, ...] = (("total_tokens",),)
    cache_read: tuple[Path, ...] = (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("num_cached_tokens",),  # Mistral
        ("cached_tokens",),  # Moonshot, Together
        ("prompt_cache_hit_tokens",),  # DeepSeek
        ("cache_read_input_tokens",),  # Claude on Databricks
    )
    cache_write: tuple[Path, ...] = (
        ("prompt_tokens_details", "cache_write_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
        ("cache_creation_input_tokens",),
    )
    reasoning: tuple[Path, ...] = (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("reasoning_tokens",),
    )
    input_audio: tuple[Path, ...] = (("prompt_tokens_details", "audio_tokens"),)
    input_image: tuple[Path, ...] = (("prompt_tokens_details", "image_tokens"),)
    output_audio: tuple[Path, ...] = (("completion_tokens_details", "audio_tokens"),)
    output_image: tuple[Path, ...] = (("completion_tokens_details", "image_tokens"),)
    cache_read_audio: tuple[Path, ...] = (
        ("prompt_tokens_details", "cached_tokens_details", "audio_tokens"),
    )
    searches: tuple[Path, ...] = (
        ("server_tool_use", "web_search_requests"),  # OpenRouter
        ("server_tool_use_details", "web_search_requests"),
        ("num_search_queries",),  # Perplexity
    )


@dataclass(frozen=True, slots=True)
class CostField:
    """Where an endpoint reports what a call cost, within its usage; `per_usd` of it are a dollar.

    `upstream` is what somebody else charged for it, to be added where the field `upstream_if` is
    true.
    """

    path: Path
    per_usd: int = 1
    upstream: Path = ()
    upstream_if: str = ""


USAGE = UsageFields()

COSTS = (
    CostField(("cost", "total_cost")),  # Perplexity
    # OpenRouter; with a key of one's own, what the upstream took stands beside it.
    CostField(
        ("cost",), upstream=("cost_details", "upstream_inference_cost"), upstream_if="is_byok"
    ),
    CostField(("cost_in_usd_ticks",), 10**10),  # xAI
)
"""The first that is there counts. Sources: OpenRouter, "Usage accounting"; Perplexity, "Usage";
xAI, "Cost tracking"."""

REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one endpoint takes, and where its answers say what.

    `path` is where its API begins, if the address does not say. `max_tokens` is the field's name,
    or `by_model`: `max_completion_tokens` for OpenAI's reasoning models. `thinking`: `effort`
    (`reasoning_effort`), `switch` (`thinking: {type: enabled}`), `enable_thinking`, `reasoning`
    (OpenRouter's object) or `none` (an effort only for models that are known to take it). `off`
    holds, by a pattern of the model's name, the fields that say that it is not to think, where
    these are others; `efforts` the words that it takes. `reply` is how a model's thinking is sent
    back: a field of the message, `content` parts, or not at all; models that `wants_thinking`
    fits refuse their calls without it. `tool_images`: images may stand in a tool's result.

    `call_ids` is the form of tool calls' ids: `any`, `short` (40 characters) or `nine` (letters or
    digits). `pairs_results`: a call without a result, or the other way round, is refused.
    `user_after_tool`: a user may speak right after a tool. `prefix`: an answer that the caller
    began is marked. `blank_texts`: they are taken. `names`: a speaker's name is taken.
    `forced_while_thinking`: a model that thinks can be made to call a tool. `fixed_sampling` is a
    pattern of models whose sampling cannot be changed. `signs_calls`: Gemini's, whose calls have
    signatures. `counts_tokens`: Gemini's own API counts them. `cache_control`: marks in messages
    and tools are taken. `files`: parts with a file are read, as far as is known.
    `packed_vectors`: embeddings come as base64 where that is asked for. `has_batches`: it has
    OpenAI's Batch API at half the price, or nobody knows. `extras` are the fields
    that are taken beside OpenAI's, of those that change neither the price nor who answers.

    What is read: `usage` and `costs`, where tokens and cost are reported; `reasoning`, the fields
    of a message that hold what the model thought, of which the first that is there counts;
    `reasoning_details`, the field of thoughts in blocks. Hosts differ in them without being in
    each other's way, so all rows share them.
    """

    path: str = "/v1"
    key_header: Literal["authorization", "api-key"] = "authorization"
    max_tokens: Literal["max_tokens", "max_completion_tokens", "by_model"] = "max_tokens"
    seed: str = "seed"
    required: str = "required"
    stream_options: bool = True
    thinking: Literal["effort", "switch", "enable_thinking", "reasoning", "none"] = "effort"
    off: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    efforts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    reply: Literal["reasoning_content", "reasoning_details", "content", "extra_content", ""] = ""
    wants_thinking: str = ""
    lists_models: bool = True
    tool_images: bool = False
    call_ids: Literal["any", "short", "nine"] = "any"
    pairs_results: bool = False
    user_after_tool: bool = True
    prefix: bool = False
    blank_texts: bool = True
    names: bool = True
    forced_while_thinking: bool = True
    fixed_sampling: str = ""
    max_temperature: float = 2.0
    signs_calls: bool = False
    counts_tokens: bool = False
    cache_control: bool = False
    extras: frozenset[str] = frozenset()
    files: bool = False
    packed_vectors: bool = False
    has_batches: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    usage: UsageFields = USAGE
    costs: tuple[CostField, ...] = COSTS
    reasoning: tuple[str, ...] = REASONING
    reasoning_details: str = "reasoning_details"


_SAMPLING = frozenset({"top_k", "min_p", "repetition_penalty"})
# Source: vLLM, "OpenAI-compatible server: extra parameters"; SGLang takes most of them too.
_SELF_HOSTED = _SAMPLING | {
    *("chat_template_kwargs", "chat_template", "add_generation_prompt", "continue_final_message"),
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),
    *("length_penalty", "min_tokens", "stop_token_ids", "include_stop_str_in_output", "ignore_eos"),
    *("skip_special_tokens", "spaces_between_special_tokens", "bad_words", "include_reasoning"),
    *("regex", "ebnf", "separate_reasoning", "mm_processor_kwargs", "truncate_prompt_tokens"),
}
_TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
# Models with open weights that think unless their template is told not to, as vLLM and SGLang
# serve them. Source: vLLM, "Reasoning outputs"; the models' cards.
_HYBRIDS = (
    r"(?i)qwen-?3(?!.*(?:instruct|coder|thinking))|glm-?(?:4\.[5-9]|[5-9])|"
    r"deepseek-?v(?:3\.[1-9]|[4-9])|kimi-?k(?:2\.[5-9]|[3-9])"
)
_KIMIS_THAT_THINK = r"kimi-(?:k2-thinking|k2\.[5-9]|k[3-9]|thinking)"

# Azure's deployments have names of their own, so that no model is told from them: the field that
# all models take is sent where the API knows it. Source: Microsoft, "Azure OpenAI reasoning
# models: API support", "v1 API".
_AZURE = Dialect(
    path="/openai/v1",
    key_header="api-key",
    max_tokens="max_completion_tokens",
    call_ids="short",
    pairs_results=True,
    files=True,
    packed_vectors=True,
)
_AZURE_BEFORE = replace(_AZURE, max_tokens="by_model")
_AZURE_SINCE = "2024-12-01"  # the first api-version that takes max_completion_tokens
_KIMI_USAGE = UsageFields(reports=(("usage",), ("choices", "usage")))
_REPLIES = Dialect(reply="reasoning_content")
_SWITCHES = Dialect(thinking="switch", reply="reasoning_content")
_GLM = replace(
    _SWITCHES, path="/api/paas/v4", blank_texts=False, max_temperature=1.0, cache_control=True
)
_KIMI = replace(
    _SWITCHES,
    usage=_KIMI_USAGE,
    wants_thinking=_KIMIS_THAT_THINK,
    pairs_results=True,
    blank_texts=False,
    forced_while_thinking=False,
    fixed_sampling=r"kimi-k(?:2\.[5-9]|[3-9])",
    max_temperature=1.0,
)
_QWEN = Dialect(
    path="/compatible-mode/v1",
    thinking="enable_thinking",
    reply="reasoning_content",
    forced_while_thinking=False,
    cache_control=True,
    extras=frozenset({"top_k", "repetition_penalty"}),
)
_GEMINI = Dialect(reply="extra_content", signs_calls=True, pairs_results=True, blank_texts=False)
_TOGETHER = replace(
    _REPLIES, off=((_HYBRIDS, {"reasoning": {"enabled": False}}),), extras=_SAMPLING
)
_OLLAMA = Dialect(
    max_tokens="by_model",
    reply="reasoning_content",
    off=((_HYBRIDS, {"reasoning_effort": "none"}),),
)

# Of api.openai.com, and of hosts that nobody knows: self-hosted servers, proxies.
OPENAI = Dialect(
    max_tokens="max_completion_tokens",
    call_ids="short",
    pairs_results=True,
    files=True,
    packed_vectors=True,
    has_batches=True,
)
UNKNOWN = Dialect(
    max_tokens="by_model",
    reply="reasoning_content",
    off=((_HYBRIDS, _TEMPLATE_OFF),),
    cache_control=True,
    files=True,
    has_batches=True,
    extras=_SELF_HOSTED,
)

# By the end of the host's name. Sources: each provider's "Chat completions" reference.
DIALECTS: Mapping[str, Dialect] = {
    "api.openai.com": OPENAI,
    "openai.azure.com": _AZURE,
    "services.ai.azure.com": _AZURE,
    "cognitiveservices.azure.com": _AZURE,
    "api.deepseek.com": replace(
        _SWITCHES,
        wants_thinking=r"deepseek-(?:v[4-9]|reasoner)",
        pairs_results=True,
        forced_while_thinking=False,
    ),
    "api.z.ai": _GLM,
    "open.bigmodel.cn": _GLM,
    "api.moonshot.ai": _KIMI,
    "api.moonshot.cn": _KIMI,
    "dashscope.aliyuncs.com": _QWEN,
    "dashscope-intl.aliyuncs.com": _QWEN,
    "api.groq.com": Dialect(
        path="/openai/v1",
        off=((r"qwen-?3", {"reasoning_effort": "none"}),),
        efforts=((r"qwen-?3", ("default",)),),
    ),
    "api.cerebras.ai": Dialect(off=((r"glm-", {"disable_reasoning": True}),)),
    "api.together.xyz": _TOGETHER,
    "api.together.ai": _TOGETHER,
    "router.huggingface.co": Dialect(extras=_SAMPLING),
    "api.x.ai": Dialect(thinking="none", reply="reasoning_content", blank_texts=False),
    "api.mistral.ai": Dialect(
        seed="random_seed",
        required="any",
        stream_options=False,
        thinking="none",
        reply="content",
        call_ids="nine",
        pairs_results=True,
        user_after_tool=False,
        prefix=True,
        blank_texts=False,
        names=False,
        max_temperature=1.5,
        extras=frozenset({"safe_prompt", "prompt_mode"}),
    ),
    "openrouter.ai": Dialect(
        path="/api/v1",
        thinking="reasoning",
        reply="reasoning_details",
        cache_control=True,
        files=True,
        extras=_SAMPLING | {"top_a"},
        extra={"usage": {"include": True}},
    ),
    "api.perplexity.ai": Dialect(path="", stream_options=False, lists_models=False),
    "generativelanguage.googleapis.com": replace(
        _GEMINI, path="/v1beta/openai", counts_tokens=True
    ),
    "aiplatform.googleapis.com": _GEMINI,
    "ollama.com": _OLLAMA,
}
_OLLAMA_PORT = 11434

LITELLM = Dialect(tool_images=True, cache_control=True, files=True)
_SWITCHED_OFF: Mapping[str, Any] = {"thinking": {"type": "disabled"}}
_LITELLM_SWITCHES = replace(LITELLM, off=((r"", {"extra_body": _SWITCHED_OFF}),))
_LITELLM_STRICT = replace(LITELLM, pairs_results=True)

# What differs behind LiteLLM, by the prefix of its model names.
LITELLM_DIALECTS: Mapping[str, Dialect] = {
    "openai": replace(_LITELLM_STRICT, call_ids="short"),
    "azure": replace(_LITELLM_STRICT, call_ids="short"),
    "mistral": replace(
        _LITELLM_STRICT,
        call_ids="nine",
        user_after_tool=False,
        blank_texts=False,
        max_temperature=1.5,
    ),
    "gemini": replace(_LITELLM_STRICT, blank_texts=False),
    "vertex_ai": replace(_LITELLM_STRICT, blank_texts=False),
    "deepseek": replace(LITELLM, off=((r"", _SWITCHED_OFF),), forced_while_thinking=False),
    "zai": _LITELLM_SWITCHES,
    "moonshot": replace(_LITELLM_SWITCHES, forced_while_thinking=False),
    "dashscope": replace(LITELLM, off=((r"", {"extra_body": {"enable_thinking": False}}),)),
    "openrouter": replace(LITELLM, off=((r"", {"extra_body": {"reasoning": {"enabled": False}}}),)),
}

_SERIES = re.compile(r"(?:^|/)(?:(o[1-9])(?![\w.])|gpt-(\d+)(?:\.(\d+))?(?!o)(-chat\b)?)")
_GROK_THINKS = re.compile(r"grok-(?:4|code|3-mini)")


def dialect_of(base_url: str) -> Dialect:
    """Return the row of an address's host."""
    address = urlsplit(base_url)
    if address.netloc.endswith(f":{_OLLAMA_PORT}"):
        return _OLLAMA
    host = "." + (address.hostname or "")
    row = next((row for end, row in DIALECTS.items() if host.endswith("." + end)), UNKNOWN)
    if row is _AZURE and not _takes_max_completion_tokens(address.path, address.query):
        return _AZURE_BEFORE
    return row


def litellm_dialect(model: str) -> Dialect:
    """Return what is said to LiteLLM for a model with its prefix; it takes OpenAI's form.

    It translates fields and signatures itself; ids, results and thinking are the provider's.
    """
    prefix = model.partition("/")[0]
    return LITELLM_DIALECTS.get(prefix, LITELLM)


def azure_takes_max_completion_tokens(api_version: str) -> bool:
    """Whether a version of Azure's API takes `max_completion_tokens` for every model."""
    return api_version in ("v1", "preview", "latest") or api_version >= _AZURE_SINCE


def _takes_max_completion_tokens(path: str, query: str) -> bool:
    """Whether an address of Azure's is of an API that takes it: v1, or recent enough.

    `/models` is the inference API of models of other companies, which takes `max_tokens`.
    """
    if path.startswith("/openai/deployments"):
        return azure_takes_max_completion_tokens(dict(parse_qsl(query)).get("api-version", ""))
    return not path.startswith("/models")


@lru_cache(maxsize=1_000)
def refused_by_openai(model: str, *, thinking: bool) -> frozenset[str]:
    """Return the sampling parameters that a model refuses; a temperature of 1 always goes.

    Source: OpenAI, "Reasoning models: parameter compatibility"; xAI, "Reasoning".
    """
    if _GROK_THINKS.search(model):
        return frozenset({"stop"})
    found = _SERIES.search(model)
    if found is None or not always_thinks(model):
        return frozenset()
    if found[1]:
        return frozenset({"temperature", "top_p"})
    if found[3] and not found[4] and not thinking:  # from 5.1 on, thinking is off unless asked for
        return frozenset({"stop"})
    return frozenset({"temperature", "top_p", "stop"})


@lru_cache(maxsize=1_000)
def always_thinks(model: str) -> bool:
    """Whether a model is one of OpenAI's reasoning models (`gpt-5-chat` is none)."""
    found = _SERIES.search(model)
    if found is None:
        return False
    return bool(found[1]) or (int(found[2]) >= 5 and not (found[4] and not found[3]))
