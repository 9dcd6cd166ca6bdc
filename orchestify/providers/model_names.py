"""Which provider a model's name leads to: aliases, configured models, and what providers list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from orchestify.core.aliases import Aliased, ModelAlias, exact_alias, open_alias
from orchestify.core.config import Config
from orchestify.core.problems import did_you_mean
from orchestify.models.model_map import ModelMap
from orchestify.providers.catalogue import written_models
from orchestify.providers.lookup import ProviderLookup

NameAt = Callable[[str, str], str | None]
"""A model's name at a provider, as its lane takes it; None: it may not be named there."""

Place = tuple[str, str]
"""A provider, and a model's name there."""

MOST_TOLD = 10
"""How many models an error names."""


def names_of(config: Config, lookup: ProviderLookup) -> ModelNames:
    """Return what finds the provider of a model's name among those that are on, as things stand."""
    default = config.default_provider
    targets = {name: lookup.target(name) for name in lookup.providers}
    own = {(name, target.model) for name, target in targets.items()}
    return ModelNames(
        models=config.models,
        providers=sorted(targets, key=lambda name: name != default),
        companies={name: target.endpoint for name, target in targets.items()},
        named=own.union(written_models(config)),
        listed=lookup.listed(),
        name_at=lookup.full_model,
        model_map=lookup.runtime.prices.model_map,
    )


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Finds the provider of a model by its name.

    `providers` are all that are on, the best first. `companies` holds LiteLLM's name of the company
    that each leads to, `named` the models that the configuration names, `listed` those that a
    provider listed when it was last asked.
    """

    models: Mapping[str, ModelAlias]
    providers: Collection[str]
    companies: Mapping[str, str | None]
    named: Collection[Place]
    listed: Mapping[str, Collection[str]]
    name_at: NameAt
    model_map: ModelMap

    def place_of(self, model: str) -> Place | None:
        """Return where a model is, by the first of these that has it; None where none has.

        An alias of that very name; `provider/model`; a model that the configuration names; an alias
        with `*`; a model that a provider listed; one that LiteLLM's map has of the company that a
        provider leads to.
        """
        return next(self._places(model), None)

    def unknown(self, model: str, how: str = "") -> str:
        """Return what to say where nothing has the model: what is meant, and what there is.

        `how` to name a model stands between the two.
        """
        lost = exact_alias(self.models, model) or open_alias(self.models, model)
        if lost is not None:
            return f"{lost.alias!r} stands for a model at {lost.provider}, which is not on"
        own, _, name = model.partition("/")
        aliases = [alias for alias, each in self.models.items() if each.provider in self.providers]
        places = sorted(each for each in self.named if each[0] in self.providers)
        full = [f"{provider}/{name}" for provider, name in places]
        meant = did_you_mean(model, [*aliases, *(name for _, name in places), *full])
        if name and own not in self.providers:
            meant = meant or did_you_mean(own, self.providers)
        there = [each for each in full if each.startswith(f"{own}/")]
        told = there or [*aliases, *full]
        more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        known = f"; there are {', '.join(told[:MOST_TOLD])}{more}" if told else ""
        return f"no provider has this model{meant}{how}{known}"

    def _places(self, model: str) -> Iterator[Place]:
        yield from self._aliased(exact_alias(self.models, model))
        provider, _, name = model.partition("/")
        if name and provider in self.providers:
            yield from self._at([provider], name)
        names = list(self._at(self.providers, model))
        yield from (each for each in names if each in self.named)
        yield from self._aliased(open_alias(self.models, model))
        for provider, name in names:
            if {name, model} & set(self.listed.get(provider, ())):
                yield provider, name
        for provider, name in names:
            company = self.companies.get(provider)
            if company is not None and self.model_map.entry(name, company) is not None:
                yield provider, name

    def _aliased(self, found: Aliased | None) -> Iterator[Place]:
        if found is not None and found.provider in self.providers:
            yield from self._at([found.provider], found.model)

    def _at(self, providers: Collection[str], model: str) -> Iterator[Place]:
        for provider in providers:
            name = self.name_at(provider, model)
            if name is not None:
                yield provider, name
