"""What a host holds: the registry, its providers, and how they are made from a configuration.

Read first `base.py`, the interface of every provider, then `registry.py`. A provider has a
route (`orchestify.calls`, which draws the whole way of a call), its route has targets, and a
target has a lane (`orchestify.lanes`).

    base.py          LLMProvider: complete, stream, and what else a caller sees
    configured.py    the base of the four kinds: claude, openai_provider, litellm_provider, mock
    external.py      the lane of a host's own class
    own_methods.py, tracked_usage.py    what else such a class is asked, and tells
    routed.py        what a caller gets for an agent, a default chain, a host's own provider
    registry.py      providers by name and agent, and the account of all calls
    lookup.py        providers by name; the targets and routes that lead to them
    reloading.py     another configuration for what runs
    building.py, targets.py, environment.py     from a configuration, or an environment, to these
    shared.py        what a host of many registries gives each of them
    model_names.py   which provider a model's name leads to
    explain.py, catalogue.py, template.py    what is known without a call
    provider_check.py, benchmark.py    what short calls tell of a provider
    litellm_import.py    a configuration of ours from LiteLLM's

Other rooms import from: base, building, catalogue, claude, configured, environment, explain,
litellm_import, litellm_provider, mock, model_names, openai_provider, provider_check, registry,
reloading, routed, shared, template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestify.host_package import with_hosts_folders
from orchestify.lazy_names import lazy_names

__path__ = with_hosts_folders(__name__, __path__)

if TYPE_CHECKING:
    from orchestify.errors import (
        APIConnectionError as APIConnectionError,
        APIError as APIError,
        RateLimitError as RateLimitError,
    )
    from orchestify.lanes.mock import (
        MockAnswer as MockAnswer,
    )
    from orchestify.providers.base import (
        LLMProvider as LLMProvider,
    )
    from orchestify.providers.claude import (
        ClaudeProvider as ClaudeProvider,
    )
    from orchestify.providers.litellm_provider import (
        LiteLLMProvider as LiteLLMProvider,
    )
    from orchestify.providers.mock import (
        MockProvider as MockProvider,
    )
    from orchestify.providers.openai_provider import (
        OpenAIProvider as OpenAIProvider,
    )
    from orchestify.providers.registry import (
        ProviderRegistry as ProviderRegistry,
    )
    from orchestify.values import (
        LLMMessage as LLMMessage,
        LLMResponse as LLMResponse,
        TokenUsage as TokenUsage,
    )
else:
    __getattr__, __dir__, __all__ = lazy_names(__name__)
