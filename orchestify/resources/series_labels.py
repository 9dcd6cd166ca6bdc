"""Label values of metrics: which providers and models have series of their own."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"
MAX_PROVIDERS = 200
MAX_MODELS = 200
MAX_CHARS = 100


class ModelLabels:
    """Separates the models that a configuration names from those that callers make up.

    What is named has labels of its own. Of all else the first `MAX_MODELS` models of a provider
    do, and of a tenant's providers, which it may rename as often as it likes, the first
    `MAX_PROVIDERS`; names longer than `MAX_CHARS` do not. What is left is `other`.
    """

    def __init__(self) -> None:
        self._named: dict[str, frozenset[tuple[str, str]]] = {}
        self._seen: dict[str, dict[str, set[str]]] = {}

    def name(self, tenant: str, models: Iterable[tuple[str, str]]) -> None:
        """Take the providers and models that a tenant's configuration names at present."""
        self._named[tenant] = frozenset(models)

    def of(self, tenant: str, provider: str, model: str) -> tuple[str, str]:
        """Return the labels `provider` and `model` of an attempt."""
        if (provider, model) in self._named.get(tenant, ()):
            return provider, model
        seen = self._seen.setdefault(tenant, {})
        models = seen.get(provider)
        if models is None:
            if len(seen) >= MAX_PROVIDERS:
                return OTHER, OTHER
            models = seen[provider] = set()
        if model not in models:
            if len(models) >= MAX_MODELS or len(model) > MAX_CHARS:
                return provider, OTHER
            models.add(model)
        return provider, model
