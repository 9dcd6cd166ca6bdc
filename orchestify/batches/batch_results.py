"""A result of a provider's batch: what it cost, at the price of batches, and how it is booked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

from orchestify.batches.batch_plan import batch_price_of
from orchestify.batches.many import BatchResult
from orchestify.calls.attempt_usage import answered_usage, lacks_counts
from orchestify.calls.runtime import Runtime
from orchestify.calls.target import Target
from orchestify.errors import APIError, BatchStateError, InvalidResponseError, OrchestifyError
from orchestify.lanes.batch_api import RemoteBatch, RemoteResult
from orchestify.ledger.batches import BatchItem, BatchRow, Booking
from orchestify.ledger.record import Outcome, Record
from orchestify.models.pricing import BATCH, Cost, Price, batch_price, cost_of
from orchestify.policy.budget import NO_AMOUNT, ZERO, Amount
from orchestify.values import UNKNOWN_USAGE, CompletionRequest, LLMResponse, Usage

BATCH_LABEL = "provider_batch"
"""The label that the records of a batch have; its value is the batch's id."""

_NOTHING_USED = Usage(service_tier=BATCH)
_NOT_DONE = {
    "expired": "the batch expired before this request was done",
    "cancelled": "the batch was cancelled before this request was done",
    "failed": "the provider did not take the batch",
}


@dataclass(frozen=True, slots=True)
class Settlement:
    """Turns results of one batch into what is booked and what its caller gets."""

    runtime: Runtime
    target: Target
    batch: BatchRow
    remote: RemoteBatch
    _targets: dict[str, Target] = field(default_factory=dict, repr=False)

    def asked(self, item: BatchItem) -> CompletionRequest:
        """Return what is still known of a request: its model, and how long its answer may be."""
        model = self.batch.groups[item.group].model
        return CompletionRequest(messages=(), model=model, max_tokens=item.output_tokens)

    def of_result(self, item: BatchItem, result: RemoteResult) -> tuple[Booking, BatchResult]:
        """Return what is booked for a result, and what the caller gets."""
        if result.response is not None:
            return self._answered(item, result.response)
        if result.error is not None:
            return self._failed(item, result.error)
        return self._not_done(item, result.outcome)

    def of_nothing(self, item: BatchItem) -> tuple[Booking, BatchResult]:
        """Return the same for a request of which the results say nothing."""
        left_as = self.remote.left_as
        if left_as is not None:
            return self._not_done(item, left_as)
        error = InvalidResponseError("the batch has no result of this request")
        return self._failed(item, error)

    def _answered(self, item: BatchItem, response: LLMResponse) -> tuple[Booking, BatchResult]:
        usage = response.usage or UNKNOWN_USAGE
        if usage.source == "unknown" or (usage.invalid and lacks_counts(usage)):
            known = replace(usage, input_tokens=usage.input_tokens or item.input_tokens)
            usage = answered_usage(self.asked(item), replace(response, usage=known))
        usage = replace(usage, service_tier=BATCH)
        reported_usd = response.cost_usd if response.cost_source == "provider" else None
        cost = self._cost(item, usage, response.model, reported_usd)
        booking = self._booking(item, "ok", usage, cost, answered=response.model)
        complete = replace(
            response,
            model=response.model or self._model(item),
            tokens_input=usage.input_tokens,
            tokens_output=usage.output_tokens,
            usage=usage,
            cost_usd=cost.usd,
            cost_source=cost.source,
            provider=self.batch.provider,
            call_id=booking.record.call_id,
        )
        return booking, BatchResult(item.number, item.custom_id or None, complete)

    def _failed(self, item: BatchItem, error: APIError) -> tuple[Booking, BatchResult]:
        """Book what the provider says of a failure; nothing where that was not billed."""
        usage = error.usage or UNKNOWN_USAGE
        if usage.source != "unknown":
            usage = replace(usage, service_tier=BATCH)
            cost = self._cost(item, usage, "", error.cost_usd)
        elif error.may_be_billed:
            cost = Cost(error.cost_usd, "none" if error.cost_usd is None else "provider")
        else:
            cost, usage = Cost(ZERO, "none"), _NOTHING_USED
        return self._refused(item, "failed", usage, cost, error)

    def _not_done(self, item: BatchItem, became: str) -> tuple[Booking, BatchResult]:
        what = _NOT_DONE[became]
        if became == "failed" and self.remote.problem:
            what = f"{what}: {self.remote.problem}"
        error = BatchStateError(what, batch_id=self.batch.id, state=became)
        outcome: Outcome = "cancelled" if became == "cancelled" else "failed"
        return self._refused(item, outcome, _NOTHING_USED, Cost(ZERO, "none"), error)

    def _refused(
        self, item: BatchItem, outcome: Outcome, usage: Usage, cost: Cost, error: OrchestifyError
    ) -> tuple[Booking, BatchResult]:
        booking = self._booking(item, outcome, usage, cost, error=error)
        error.call_id = booking.record.call_id
        return booking, BatchResult(item.number, item.custom_id or None, error=error)

    def _booking(
        self,
        item: BatchItem,
        outcome: Outcome,
        usage: Usage,
        cost: Cost,
        *,
        answered: str = "",
        error: OrchestifyError | None = None,
    ) -> Booking:
        batch, group = self.batch, self.batch.groups[item.group]
        call_id = f"{batch.id}-{item.number}"
        is_unknown = outcome != "ok" and cost.usd is None
        at_most_usd = item.at_most_usd if outcome == "ok" or is_unknown else ZERO
        record = Record(
            id=f"{call_id}-1",
            call_id=call_id,
            started_at=batch.submitted_at,
            provider=batch.provider,
            agent=batch.agent,
            model=group.model,
            model_answered=answered,
            outcome=outcome,
            usage=usage,
            cost_usd=cost.usd,
            cost_source=cost.source,
            price_date=cost.priced_at,
            assumed_price=cost.assumed,
            cost_at_most_usd=at_most_usd,
            error="" if error is None else type(error).__name__,
            labels={**group.labels, BATCH_LABEL: batch.id},
            key=batch.key,
        )
        calls = int(outcome == "ok" or usage.total_tokens > 0)
        taken = Amount(cost.usd or ZERO, usage.total_tokens, calls)
        possible = NO_AMOUNT
        if is_unknown:
            possible = Amount(item.at_most_usd or ZERO, item.most_tokens, 1).minus(
                Amount(ZERO, min(usage.total_tokens, item.most_tokens), calls)
            )
        return Booking(item.number, record, taken, possible)

    def _cost(
        self, item: BatchItem, usage: Usage, answered: str, reported_usd: Decimal | None
    ) -> Cost:
        target = self._target(item)
        price = batch_price_of(self.runtime, target, answered)

        def price_of(model: str) -> Price | None:
            found = self.runtime.prices.price(target.provider_id, model, target.endpoint)
            return None if found is None else batch_price(found)

        return cost_of(usage, reported_usd, price, price_of)

    def _model(self, item: BatchItem) -> str:
        return self.batch.groups[item.group].model

    def _target(self, item: BatchItem) -> Target:
        model = self._model(item)
        found = self._targets.get(model)
        if found is None:
            found = self._targets[model] = self.target.with_model(model)
        return found
