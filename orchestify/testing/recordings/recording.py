"""One recording: what was asked and answered, from a file or on its way into one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, TypeVar, get_args

from orchestify.core.providers import ProviderConfig
from orchestify.errors import InvalidParameterError, OrchestifyError, RecordingError
from orchestify.testing.recordings import answers, file
from orchestify.testing.recordings.difference import differences, nearest
from orchestify.testing.recordings.file import Exchange
from orchestify.testing.recordings.ids import Names, answered_ids, renamed, with_local_names
from orchestify.testing.recordings.plain import Plain
from orchestify.testing.recordings.requests import Ask, asked
from orchestify.testing.recordings.secrets import Secrets
from orchestify.values import CompletionRequest, StreamEvent

T = TypeVar("T")

Mode: TypeAlias = Literal["once", "none", "all"]
"""`once` records where the file is absent, `none` never, `all` anew; else the file answers."""

_FREE = ("count", "models")  # questions whose last answer holds from then on


class Recordings:
    """What providers answered, by what they were asked; of several times in the order recorded.

    `path` is a YAML file. Where it `replays`, nothing is sent; where it does not, each exchange
    is written as it ends, in the order in which they began. One object is given to all registries
    of a test; it may be used from several threads.
    """

    def __init__(self, path: str | Path, mode: Mode = "once") -> None:
        """Open a recording.

        Raises:
            InvalidParameterError: there is no such mode.
            RecordingError: the file cannot be read, or is none.
        """
        if mode not in _MODES:
            raise InvalidParameterError(f"the mode of recordings is one of {', '.join(_MODES)}")
        self.path = Path(path)
        self.mode = mode
        is_there = self.path.exists()
        self.replays = mode == "none" or (mode == "once" and is_there)
        self._secrets, self._names, self._lock = Secrets(), Names(), threading.Lock()
        self._recorded = file.read(self.path) if self.replays and is_there else []
        self._by_key: dict[str, list[Exchange]] = defaultdict(list)
        for each in self._recorded:
            self._by_key[_key(each.form)].append(each)
        self._used: dict[str, int] = defaultdict(int)
        self._slots: list[Slot] = []

    def __repr__(self) -> str:
        return f"<Recordings {self.path}: {self.mode}>"

    def learn_secrets(self, config: ProviderConfig) -> None:
        """Strike the keys and headers of this configuration out of what is written."""
        with self._lock:
            self._secrets.learn(config)

    def find(self, ask: Ask, provider_id: str, request: CompletionRequest | None) -> Found:
        """Return what was recorded for a request, the next one where it repeats.

        Raises:
            RecordingError: it is not there, or not so often; the message says what is nearest.
        """
        with self._lock:
            form = self._secrets.struck(asked(ask, provider_id, request))
            key = _key(form)
            recorded, used = self._by_key.get(key, []), self._used[key]
            if ask in _FREE:
                used = min(used, len(recorded) - 1)
            if not recorded or used >= len(recorded):
                raise RecordingError(self._missing(form, recorded))
            self._used[key] = used + 1
            exchange = recorded[used]
        place = f"{self.path}:{exchange.line}"
        return Found(_as_asked(exchange.form, form), place, provider_id)

    def begin(self, ask: Ask, provider_id: str, request: CompletionRequest | None) -> Slot:
        """Return the place of an exchange that is under way, to be recorded.

        Raises:
            RecordingError: there is no writing the file.
        """
        form = asked(ask, provider_id, request)
        with self._lock:
            if not self._slots:
                file.check_writable(self.path)
            slot = Slot(self, self._names.put(self._secrets.struck(form)))
            self._slots.append(slot)
        return slot

    def finish(self, slot: Slot) -> None:
        """Write the file with what came of an exchange; without it where nothing did.

        Raises:
            RecordingError: the file cannot be written.
        """
        with self._lock:
            if slot.outcome is None:
                self._slots.remove(slot)
                return
            pieces = self._secrets.struck_pieces(slot.pieces)
            came: dict[str, Plain] = {"pieces": pieces} if pieces else {}
            came |= self._secrets.struck(slot.outcome)
            if slot.form["ask"] == "embed" and "answer" in came:  # vectors are no text
                came["answer"]["vectors"] = slot.outcome["answer"]["vectors"]
            slot.text = file.as_text({**slot.form, **self._names.put(came)})
            file.write(self.path, [each.text for each in self._slots])

    def _missing(self, form: dict[str, Plain], recorded: list[Exchange]) -> str:
        """Say that a request is not there, and how it differs from the nearest that is."""
        what = f"{form['ask']} of {form['provider']}"
        anew = "`pytest --recordings=all` records it anew"
        if recorded:
            times = "once" if len(recorded) == 1 else f"{len(recorded)} times"
            where = f"{self.path}:{recorded[-1].line}"
            return f"{where}: this {what} is recorded {times}, and asked for once more; {anew}"
        if not self._recorded:
            return f"{self.path} has no answer to this {what}: nothing is recorded; {anew}"
        plain_form = with_local_names(form)
        others = [with_local_names(each.form) for each in self._recorded]
        index = nearest(plain_form, [_asked_part(each) for each in others])
        lines = differences(plain_form, _asked_part(others[index]))
        return "\n  ".join(
            [
                f"{self.path} has no answer to this {what}; the nearest request, at line "
                f"{self._recorded[index].line}, differs in:",
                *lines,
                anew,
            ]
        )


_MODES = get_args(Mode)


@dataclass(slots=True, eq=False)
class Slot:
    """The place of an exchange in a recording while it is under way.

    As a context it notes what ends the exchange; what is no error of ours, and no cancellation,
    leaves nothing.
    """

    recordings: Recordings
    form: dict[str, Plain]
    pieces: list[Plain] = field(default_factory=list)
    outcome: dict[str, Plain] | None = None
    text: str = ""

    def add(self, event: StreamEvent) -> None:
        """Note a piece of a stream."""
        self.pieces.append(answers.piece_form(event))

    def answered(self, form: Plain) -> None:
        """Note the answer, and write it."""
        self.outcome = {"answer": form}
        self.recordings.finish(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.outcome is not None:
            return
        if isinstance(error, OrchestifyError):
            self.outcome = {"error": answers.error_form(error)}
        elif isinstance(error, asyncio.CancelledError):
            self.outcome = {"ended": "cancelled"}
        elif isinstance(error, GeneratorExit):
            self.outcome = {"ended": "closed"}
        self.recordings.finish(self)


@dataclass(frozen=True, slots=True)
class Found:
    """What was recorded for a request, with the ids of the conversation that asks now."""

    form: dict[str, Plain]
    place: str
    provider_id: str

    def pieces(self) -> list[StreamEvent]:
        """Return the pieces of a stream. Raises RecordingError: one is none."""
        with _at(self.place):
            return [answers.piece_of(each) for each in self.form.get("pieces") or ()]

    async def answer(self, read: Callable[[Plain], T]) -> T:
        """Return the answer as `read` reads it, or end as the exchange did.

        Where it was cancelled, this waits until it is cancelled, too.

        Raises:
            RecordingError: the stream was closed before this by its reader, or it is no exchange.
            OrchestifyError: what the lane raised.
        """
        if "answer" in self.form:
            with _at(self.place):
                return read(self.form["answer"])
        if "error" in self.form:
            with _at(self.place):
                error = answers.error_of(self.form["error"], self.provider_id)
            raise error
        if self.form.get("ended") == "cancelled":
            await asyncio.get_running_loop().create_future()
        if self.form.get("ended") == "closed":
            raise RecordingError(
                f"{self.place}: the stream was closed by its reader here as it was recorded, and "
                "is read on now; `pytest --recordings=all` records it anew"
            )
        raise RecordingError(f"{self.place}: an exchange has an answer, an error or ended")


class _at:  # noqa: N801 - read as a word
    """Tells the place in the file of what cannot be used there."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, RecordingError):
            raise RecordingError(f"{self.place}: {error}") from None


def _asked_part(form: dict[str, Plain]) -> dict[str, Plain]:
    return {name: form[name] for name in ("ask", "provider", "request")}


def _key(form: dict[str, Plain]) -> str:
    """Return the same text for requests that ask the same, however their keys are ordered."""
    return json.dumps(_numbers(with_local_names(_asked_part(form))), sort_keys=True, default=str)


def _numbers(value: Plain) -> Plain:
    """Return a plain value in which 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    return [_numbers(each) for each in value] if isinstance(value, list) else value


def _as_asked(recorded: dict[str, Plain], form: dict[str, Plain]) -> dict[str, Plain]:
    """Return what came of a recorded exchange, with ids as the present request has them."""
    came = {name: each for name, each in recorded.items() if name not in form}
    names = answered_ids(came, recorded["request"], form["request"])
    return {name: renamed(each, names) for name, each in came.items()}
