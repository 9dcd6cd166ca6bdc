"""Which client each of LiteLLM's backends takes from us: `client=` of a call.

LiteLLM documents the argument for OpenAI and Azure alone, so each row was tried: on the newest
release of each minor from 1.105 to 1.110, whole answers and streams. A name that a release does not
have yet is never asked for. `tests/contract/test_litellm_clients.py` tries them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from orchestify.core.config import Config
from orchestify.core.providers import ProviderConfig
from orchestify.lanes.litellm.loading import clients_fit

ClientKind: TypeAlias = Literal["handler", "openai", "azure"]

_TAKE: Mapping[ClientKind, str] = {
    # litellm.llms.custom_httpx.http_handler.AsyncHTTPHandler
    "handler": """
        a2a anthropic azure_ai bedrock bedrock_mantle bytez cometapi compactifai databricks
        databricks_agent datarobot deepseek edenai fireworks_ai gemini groq heroku hosted_vllm
        huggingface langflow langgraph lemonade microsoft_365_copilot minimax mistral nadir ollama
        ollama_chat opencode_go openrouter ovhcloud sagemaker_chat sagemaker_nova snowflake
        together_ai vertex_ai watsonx watsonx_text xai
    """,
    # openai.AsyncOpenAI
    "openai": """
        abliteration ai21 ai21_chat aiand aiml apertis assemblyai baseten bigmodel cerebras
        charity_engine chutes clf_ai_gateway codestral cognition coralbricks cortecs custom_openai
        darkbloom dashscope deepinfra docker_model_runner empiriolabs empower featherless_ai
        friendliai galadriel github helicone hostinger_router hyperbolic inception inferenceapis
        kyma lambda_ai libertai litellm_proxy llamafile lm_studio meta meta_llama modelscope
        moonshot morph nano-gpt nebius neosantara novita nscale nvidia_nim openai openinfer parasail
        perplexity pinstripes poe prism publicai qwen_ai_platform qwencloud refuseless reka sail
        sambanova scaleway scx-ai streamlake synthetic tencent tensormesh text-completion-inception
        text-completion-openai v0 vercel_ai_gateway volcengine wally wandb xiaomi_mimo xinference
        zai zerogpu
    """,
    # openai.AsyncAzureOpenAI
    "azure": "azure azure_text",
}
_KINDS: Mapping[str, ClientKind] = {
    name: kind for kind, names in _TAKE.items() for name in names.split()
}
# Options by which a configuration asks for a client of LiteLLM's own making.
_ASK_FOR_ANOTHER = frozenset(
    {"client", "shared_session", "ssl_verify", "azure_ad_token", "azure_ad_token_provider"}
    | {"tenant_id", "client_id", "client_secret", "azure_username", "azure_password"}
    | {"azure_scope", "workload_identity_config", "custom_llm_provider"}
)
_BRIDGED = "responses"  # the mode, and the prefix, of what LiteLLM sends to OpenAI's Responses


def client_kind(backend: str, options: Mapping[str, Any], mode: str = "") -> ClientKind | None:
    """Return the client that a backend takes; None where it takes none, or shall have another.

    `mode` is the model's in LiteLLM's map: its way to OpenAI's Responses takes no client.
    """
    if mode == _BRIDGED or not _ASK_FOR_ANOTHER.isdisjoint(options):
        return None
    return _KINDS.get(backend)


def is_bridged(model: str) -> bool:
    """Whether a model's name, without its backend's prefix, asks for OpenAI's Responses."""
    return model.startswith(f"{_BRIDGED}/")


def client_notes(config: Config) -> tuple[str, ...]:
    """Return one line for each provider whose backend takes no client from us."""
    return tuple(_notes(config.providers.providers))


def client_note(config: ProviderConfig) -> str | None:
    """Say what is lost where LiteLLM takes no client from us, None where it takes one."""
    if "litellm" not in {config.type, config.engine} or config.engine == "mock":
        return None
    backend, _, model = (config.default_model or "").partition("/")
    if config.type != "litellm":
        backend = config.type
    elif not model:
        return None  # a bare name: LiteLLM's map has its backend
    takes_one = client_kind(backend, config.options) and not is_bridged(model)
    if takes_one and clients_fit():
        return None
    return (
        f"through LiteLLM {backend} takes no client of ours: redirects are followed, the answer "
        "has no bound, and usage is LiteLLM's word"
    )


def _notes(providers: Mapping[str, ProviderConfig]) -> Iterator[str]:
    for name, each in providers.items():
        note = client_note(each) if each.is_enabled else None
        if note is not None:
            yield f"providers.{name}: {note}"
