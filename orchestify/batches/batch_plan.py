"""What a batch sends and what it may cost, worked out before anything is written or sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from orchestify.batches.requests import BatchRequest, RequestLike, request_of
from orchestify.calls.key_pool import keyed
from orchestify.calls.request import Call, call_of, lacking
from orchestify.calls.route import Route
from orchestify.calls.runtime import INPUT_MARGIN, Runtime, most_tokens
from orchestify.calls.target import Target
from orchestify.errors import InvalidParameterError
from orchestify.lanes.batch_api import BatchApi, BatchLine, EncodedRequest, batch_api_of
from orchestify.lanes.responses.lane import lane_at
from orchestify.ledger.batches import BatchGroup, BatchItem, BatchRow
from orchestify.ledger.record import SCOPE, labelled, new_id
from orchestify.models.pricing import Price, batch_price, highest_cost_usd
from orchestify.policy.budget import Budget
from orchestify.values import CompletionRequest

ONE_BY_ONE = "`orchestify batch run`, or `map` of an agent, asks the same requests one by one"
_GroupKey: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]  # model and labels
_OF_A_CALL = ("timeout_s", "max_attempts", "priority")


@dataclass(slots=True)
class BatchPlan:
    """The requests of a batch, ready to be sent to one target.

    `groups` have the requests that count against the same budgets, `budgets` those of each group,
    both in order of their first request.
    """

    target: Target
    api: BatchApi
    agent: str
    id: str = field(default_factory=new_id)
    encoded: list[EncodedRequest] = field(default_factory=list, repr=False)
    items: list[BatchItem] = field(default_factory=list, repr=False)
    groups: list[BatchGroup] = field(default_factory=list, repr=False)
    budgets: list[tuple[Budget, ...]] = field(default_factory=list, repr=False)

    def lines(self) -> list[BatchLine]:
        """Return the requests under our own custom ids, by which a batch is known."""
        return [
            BatchLine(f"{self.id}-{number}", each.body) for number, each in enumerate(self.encoded)
        ]

    def row(self, now: datetime) -> BatchRow:
        """Return the batch as the ledger is to have it."""
        costs = [item.at_most_usd for item in self.items]
        known = [cost for cost in costs if cost is not None]
        return BatchRow(
            id=self.id,
            provider=self.target.provider_id,
            agent=self.agent,
            model=self.target.model,
            key=self.target.key,
            digest=self.digest(self.id),
            total=len(self.items),
            at_most_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
            submitted_at=now,
            groups=tuple(self.groups),
        )

    def digest(self, batch_id: str) -> str:
        """Return what stands for the requests, salted with a batch's id."""
        digest = hashlib.blake2b(digest_size=16, key=batch_id.encode()[:64])
        for each in self.encoded:
            digest.update(b"%d:" % len(each.body))
            digest.update(each.body)
        return digest.hexdigest()


def plan_of(route: Route, requests: Sequence[RequestLike], shared: Mapping[str, Any]) -> BatchPlan:
    """Check the requests and return what is to be sent; `shared` are arguments of all of them.

    Raises:
        InvalidParameterError: a request cannot be used, its place is named; or the target has no
            batch API, or takes no such batch.
    """
    plan: BatchPlan | None = None
    groups: dict[_GroupKey, int] = {}
    names: set[str] = set()
    for number, given in enumerate(requests):
        try:
            request = request_of(given)
            call = _call(request, shared)
            if request.custom_id in names:
                raise InvalidParameterError("its custom_id is another request's, too")
            names |= {request.custom_id} if request.custom_id else set()
            if plan is None:
                plan = _begun(route, call)
            target = plan.target
            if call.model is not None and call.model != target.model:
                target = target.with_model(route.found(target.provider_id, call.model).model)
            _add(plan, route.runtime, target, call, request, groups)
        except InvalidParameterError as error:
            raise InvalidParameterError(f"requests[{number}]: {error}") from None
    if plan is None:
        raise InvalidParameterError("there are no requests")
    _check_size(plan)
    return plan


def batch_price_of(runtime: Runtime, target: Target, answered: str = "") -> Price | None:
    """Return the price of the target's model in a batch, None where nobody knows one."""
    price = runtime.price(target, answered)
    return None if price is None else batch_price(price)


def _call(request: BatchRequest, shared: Mapping[str, Any]) -> Call:
    arguments = {**shared, **request.arguments}
    call = call_of(**arguments)
    if call.fallback:
        raise InvalidParameterError("nothing falls back in a batch; leave fallback out")
    for name in _OF_A_CALL:
        if arguments.get(name) is not None:
            raise InvalidParameterError(f"{name} says nothing in a batch; leave it out")
    return call


def _begun(route: Route, call: Call) -> BatchPlan:
    """Return an empty plan for the target of the first request, with the key that it goes out with.

    All requests of a batch go to that provider, with that key.
    """
    first = route.targets[0]
    target = route.found(first.provider_id, call.model) if call.model else first
    if target.keys:
        target = keyed(route.runtime, target, call, SCOPE.get().labels)
    api = batch_api_of(lane_at(target.lane, target.model))
    if api is None:
        raise InvalidParameterError(
            f"{target.provider_id} has no batch API that is known here; {ONE_BY_ONE}"
        )
    return BatchPlan(target, api, route.agent)


def _add(
    plan: BatchPlan,
    runtime: Runtime,
    target: Target,
    call: Call,
    request: BatchRequest,
    groups: dict[_GroupKey, int],
) -> None:
    asked = call.request(target.defaults, model=target.model)
    lack = lacking(asked, runtime.entry(target))
    if lack is not None:
        raise InvalidParameterError(f"{target.provider_id}/{target.model}: the model {lack}")
    if plan.api.one_model and target.model != plan.target.model:
        raise InvalidParameterError(
            f"it is for another model than the first; {target.provider_id} takes one model a batch"
        )
    with labelled(request.labels):
        labels, budgets = SCOPE.get()
    group = groups.setdefault((target.model, tuple(sorted(labels.items()))), len(groups))
    if group == len(plan.groups):
        plan.groups.append(BatchGroup(target.model, dict(labels)))
        plan.budgets.append((*runtime.budgets_of(target, plan.agent, labels), *budgets))
    plan.encoded.append(plan.api.encoded(asked))
    given, cap = runtime.tokens(target, asked)
    plan.items.append(
        BatchItem(
            number=len(plan.items),
            custom_id=request.custom_id or "",
            group=group,
            input_tokens=given,
            output_tokens=cap,
            most_tokens=most_tokens((given, cap)),
            at_most_usd=_at_most_usd(runtime, target, asked, (given, cap)),
        )
    )


def _at_most_usd(
    runtime: Runtime, target: Target, asked: CompletionRequest, tokens: tuple[int, int]
) -> Decimal | None:
    price = batch_price_of(runtime, target)
    if price is None:
        return None
    terms = {**target.options, **asked.price_terms}
    return highest_cost_usd(price, int(tokens[0] * INPUT_MARGIN), tokens[1], terms)


def _check_size(plan: BatchPlan) -> None:
    api, where = plan.api, plan.target.provider_id
    if len(plan.items) > api.most_requests:
        raise InvalidParameterError(
            f"there are {len(plan.items):,} requests; {where} takes {api.most_requests:,} a batch, "
            "submit several"
        )
    size = sum(len(line.body) + len(line.custom_id) + 100 for line in plan.lines())
    if size > api.most_bytes:
        raise InvalidParameterError(
            f"the requests have {size:,} bytes; {where} takes {api.most_bytes:,} a batch, submit "
            "several"
        )
