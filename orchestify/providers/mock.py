"""A provider that answers from a script, for hosts' own tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestify.core.addresses import AddressRule
from orchestify.core.providers import ProviderConfig
from orchestify.errors import InvalidParameterError
from orchestify.lanes.lane import Lane
from orchestify.lanes.mock import MockAnswer, MockLane
from orchestify.providers.configured import ConfiguredProvider
from orchestify.values import CompletionRequest


class MockProvider(ConfiguredProvider):
    """A provider of `type: mock`: scripted answers, no network.

    provider = MockProvider("mock", answers=["first", MockAnswer(error="ServerError")])
    """

    type = "mock"

    def __init__(
        self,
        provider_id: str = "mock",
        config: ProviderConfig | Mapping[str, Any] | None = None,
        *,
        answers: Sequence[str | MockAnswer] = (),
        rule: AddressRule | None = None,
        fetches: bool = True,
        takes_unbounded: bool = True,
    ) -> None:
        """`answers` are given in order, the last repeats; without them `options` has them.

        Raises:
            InvalidParameterError: they are no list of answers.
        """
        if isinstance(answers, str) or not (
            isinstance(answers, Iterable)
            and all(isinstance(each, (str, MockAnswer)) for each in answers)
        ):
            raise InvalidParameterError("answers is a list of texts and MockAnswers")
        self._answers = [
            MockAnswer(text=each) if isinstance(each, str) else each for each in answers
        ]
        super().__init__(
            provider_id,
            {} if config is None else config,
            rule=rule,
            fetches=fetches,
            takes_unbounded=takes_unbounded,
        )

    @property
    def requests(self) -> Sequence[CompletionRequest]:
        """The requests that came, in order."""
        return self._mock.requests

    def supports_thinking(self) -> bool:
        """True: a scripted answer may hold thinking."""
        return True

    def _make_lane(self, config: ProviderConfig) -> Lane:
        if self._answers:
            self._mock = MockLane(self.provider_id, self._answers)
        else:
            self._mock = MockLane.from_options(self.provider_id, config.options)
        return self._mock
