"""Every error that orchestify raises.

    OrchestifyError
    ├── ConfigError (ValueError)              the YAML, the environment or a provider's settings
    ├── InvalidParameterError (ValueError)    an argument of a call; nothing was sent
    ├── ProviderNotFoundError (KeyError)
    ├── AgentNotFoundError (KeyError)         no such agent, or no such task
    ├── MissingExtraError (ImportError)       an optional part that is not installed
    ├── RecordingError                        a test's recording has no such request, or is none
    ├── LedgerError                           the ledger's database cannot be used
    ├── VaultError                            the vault cannot be read or written
    ├── StoreError                            the service's database cannot be used
    ├── BatchFileError                        a batch's files cannot be used, or not together
    ├── NotFoundError (KeyError)              no such row in the service's database
    ├── ConflictError                         the change meets another row, or a bound
    ├── AccessError                           the service refuses a request: 401, 403 or 429
    ├── BudgetExceededError                   a hard budget has no room for the call
    ├── BatchStateError                       a batch left to a provider is not where it has to be
    ├── RunLimitError                         a run of the tool loop reached one of its limits
    ├── AllTargetsFailedError                 every target of a route failed; see `errors`
    └── APIError                              a provider, or the way to it
        ├── AuthenticationError               401: the key is wrong or missing
        ├── PermissionDeniedError             403: the key may not do this; 402: no credit
        ├── RateLimitError                    429: too many requests or tokens
        ├── CircuitOpenError                  the breaker is open; nothing was sent
        ├── ContextWindowError                the prompt is longer than the model takes
        ├── ContentFilterError                the provider's policy refused the content
        ├── InvalidRequestError               400, 422: the provider does not accept the request
        ├── ModelNotFoundError                404: no such model or endpoint
        ├── RequestTimeoutError (TimeoutError)
        ├── APIConnectionError (ConnectionError)
        │   └── EndpointRefusedError          the base_url leads where it may not; nothing was sent
        ├── ServerError                       5xx, 529: the provider's own fault
        │   └── InvalidResponseError          a 2xx answer that is not of the protocol
        ├── StructuredOutputError             the answer does not fit `response_format`
        └── StreamInterruptedError            a stream that ended before its protocol's end

No message holds a key, a prompt or an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

REFUSED_STATUSES = frozenset({*range(300, 500), 500, 502, 503, 529} - {408})
"""The HTTP statuses by which a provider refuses a request before it does the work."""


class OrchestifyError(Exception):
    """The base of every error of this package.

    `call_id` is the call that it ended, as the ledger has it; empty where it ended none.
    """

    call_id: str = ""

    def __str__(self) -> str:
        """Return the message as it was given (KeyError would quote it)."""
        return Exception.__str__(self)


class ConfigError(OrchestifyError, ValueError):
    """What is wrong with a configuration, all of it at once.

    `problems` holds one line each, in file order: `file:line:column: key.path: what; what to do`.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class InvalidParameterError(OrchestifyError, ValueError):
    """An argument that cannot be used; raised before anything is sent.

    `param` is the place of the field in a request over HTTP, `code` the protocol's own word for
    what is wrong with it, each None where there is none.
    """

    param: str | None = None
    code: str | None = None


class ProviderNotFoundError(OrchestifyError, KeyError):
    """No provider of that name is registered; where it `is_off`, the name is configured."""

    is_off: bool = False


class AgentNotFoundError(OrchestifyError, KeyError):
    """No agent or task of that name is configured, or it `is_off`."""

    is_off: bool = False


class MissingExtraError(OrchestifyError, ImportError):
    """An optional part is not installed; the message holds the pip command to type."""


class RecordingError(OrchestifyError):
    """A recording has no answer to a request, or its file cannot be read or written.

    The message says how the request differs from the nearest that is recorded.
    """


class LedgerError(OrchestifyError):
    """The ledger's database cannot be opened, read or written."""


class VaultError(OrchestifyError):
    """The vault cannot be read or written; nothing in it was changed."""


class StoreError(OrchestifyError):
    """The service's database cannot be opened, read or written."""


class BatchFileError(OrchestifyError):
    """A file of requests or of answers cannot be read or written, or is not the other one's.

    What was in the files before is still there.
    """


class NotFoundError(OrchestifyError, KeyError):
    """The tenant has no row of that id."""


class ConflictError(OrchestifyError):
    """Another row stands in the change's way, or the tenant has as many as it may have."""


class AccessError(OrchestifyError):
    """The service refuses a request for who sends it; nothing was done.

    `status` is 401 (no token that holds), 403 (the token may not do this) or 429 (too many
    requests; `retry_after_s` says when to come again).
    """

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class BudgetExceededError(OrchestifyError):
    """A hard budget has no room for the call; nothing was sent.

    `budget` is its name, `value` the label's value where it is one of many. `remaining_usd` is
    what is left in the period, `worst_case_usd` what the call may cost at most (None where nobody
    knows a price); the same in tokens, `remaining_calls` in calls; each None where the budget does
    not limit it. `period_ends_at` is when the budget is whole again (None where it never is, or
    the call would not fit even then). `is_ledger_away` says that the ledger's database could not
    be asked what is left.
    """

    def __init__(
        self,
        message: str,
        *,
        budget: str = "",
        remaining_usd: Decimal | None = None,
        worst_case_usd: Decimal | None = None,
        period_ends_at: datetime | None = None,
        is_ledger_away: bool = False,
        value: str | None = None,
        remaining_tokens: int | None = None,
        worst_case_tokens: int | None = None,
        remaining_calls: int | None = None,
    ) -> None:
        super().__init__(message)
        self.budget = budget
        self.value = value
        self.remaining_usd = remaining_usd
        self.worst_case_usd = worst_case_usd
        self.period_ends_at = period_ends_at
        self.is_ledger_away = is_ledger_away
        self.remaining_tokens = remaining_tokens
        self.worst_case_tokens = worst_case_tokens
        self.remaining_calls = remaining_calls


class BatchStateError(OrchestifyError):
    """A batch that was left to a provider is not in the state that this needs.

    As the error of one request: the batch ended before that was done. `state` is the batch's, or
    `expired` or `cancelled`.
    """

    def __init__(self, message: str, *, batch_id: str = "", state: str = "") -> None:
        super().__init__(message)
        self.batch_id = batch_id
        self.state = state


class RunLimitError(OrchestifyError):
    """A run of the tool loop ended at a limit, without a last answer.

    `limit` is `max_turns`, `max_cost_usd` or `timeout_s`; `result` is the `RunResult` so far.
    """

    def __init__(self, message: str, *, limit: str = "", result: Any = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.result = result


class APIError(OrchestifyError):
    """A provider's answer, or the way to it, failed.

    The policies read four attributes and never a message: `retryable` (the same request may
    succeed later), `trips_breaker` (it counts against the provider), `falls_back` (another
    target may do better), `may_be_billed` (the provider may have done the work).
    `status` is the HTTP status, None where there was none. `retry_after_s` is how long the
    provider asked to wait. `usage` is the `Usage` that the provider reported beside the failure,
    `cost_usd` what it says that it cost, each None where it says nothing. `amended` says that the
    lane has learned from the refusal what the model takes, so that the same request goes out
    otherwise now.
    """

    retryable: bool = False
    trips_breaker: bool = False
    falls_back: bool = True
    may_be_billed: bool = False
    amended: bool = False
    usage: Any = None
    cost_usd: Decimal | None = None
    default_message: ClassVar[str] = "the provider failed"

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        model: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message or self.default_message)
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    def __str__(self) -> str:
        """Return where it happened and what, and the status, wait and request id where known."""
        where = "/".join(part for part in (self.provider, self.model) if part)
        notes = [f"status {self.status}"] if self.status else []
        if self.status and self.retry_after_s:
            notes.append(f"retry after {self.retry_after_s:.3g} s")
        notes += [f"request {self.request_id}"] if self.request_id else []
        tail = f" ({', '.join(notes)})" if notes else ""
        return f"{where}: {self.args[0]}{tail}" if where else f"{self.args[0]}{tail}"


class AuthenticationError(APIError):
    """The provider does not accept the key."""

    default_message = "the key was not accepted; check the provider's api_key"


class PermissionDeniedError(APIError):
    """The key is known but may not do this, or the account has no credit."""

    default_message = "the key is not allowed to do this"


class RateLimitError(APIError):
    """Too many requests or tokens; `retry_after_s` is how long to wait, None when unsaid."""

    retryable = True
    default_message = "the provider's rate limit was reached"


class CircuitOpenError(APIError):
    """The target's circuit breaker is open; nothing was sent."""

    default_message = "the circuit breaker is open"


class ContextWindowError(APIError):
    """The prompt and the answer do not fit the model's context window."""

    default_message = "the prompt is longer than the model's context window"


class ContentFilterError(APIError):
    """The provider's policy refused the prompt or the answer."""

    falls_back = False
    default_message = "the provider's content policy refused this"


class InvalidRequestError(APIError):
    """The provider does not accept the request as it is."""

    falls_back = False
    default_message = "the provider did not accept the request"


class ModelNotFoundError(APIError):
    """The provider has no such model, or the base_url leads nowhere."""

    default_message = "no such model, or the base_url is wrong"


class RequestTimeoutError(APIError, TimeoutError):
    """No answer within the time allowed, here or at the provider."""

    retryable = True
    trips_breaker = True
    may_be_billed = True
    default_message = "no answer in time"


class APIConnectionError(APIError, ConnectionError):
    """The provider could not be reached, or hung up before it answered."""

    retryable = True
    trips_breaker = True
    default_message = "the provider could not be reached"


class EndpointRefusedError(APIConnectionError):
    """A tenant's base_url leads to an address that is not allowed; nothing was sent there."""

    retryable = False
    trips_breaker = False
    default_message = "the base_url leads to an address that is not allowed"


class ServerError(APIError):
    """The provider failed or is overloaded.

    A status by which it refuses the request (4xx, 500, 502, 503, 529) costs nothing; behind any
    other, and behind an answer that cannot be used, the work may have been done.
    """

    retryable = True
    trips_breaker = True
    may_be_billed = True
    default_message = "the provider failed"

    def __init__(self, message: str = "", **known: Any) -> None:
        super().__init__(message, **known)
        if self.status is not None and self.status in REFUSED_STATUSES:
            self.may_be_billed = False


class InvalidResponseError(ServerError):
    """The answer is not of the provider's protocol: not JSON, or of the wrong shape."""

    default_message = "the answer is not of the provider's protocol"


class StructuredOutputError(APIError):
    """The answer does not fit `response_format`; it was booked.

    `response` is the `LLMResponse`, whole.
    """

    falls_back = False
    may_be_billed = True
    default_message = "the answer does not fit response_format"

    response: Any = None


class StreamInterruptedError(APIError):
    """A stream ended before its protocol's end.

    `text` is what had come.
    """

    trips_breaker = True
    retryable = True
    may_be_billed = True
    default_message = "the stream was cut before its end"

    text: str = ""


class AllTargetsFailedError(OrchestifyError):
    """Every target of a route failed; `errors` holds one a target, in the order tried."""

    def __init__(self, message: str, errors: Sequence[Exception] = ()) -> None:
        self.errors: tuple[Exception, ...] = tuple(errors)
        super().__init__(message)

    def __reduce__(self) -> tuple[type[AllTargetsFailedError], tuple[Any, ...], dict[str, Any]]:
        return type(self), (str(self.args[0]), self.errors), self.__dict__
