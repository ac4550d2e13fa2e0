"""Driver `fake`: scripted replies without a server, for tests, demos and trying things out.

The model's name chooses what happens:

    echo     repeats the last user message, word by word
    slow     says 20 numbers, 50 ms apart; `{"chunks": 5, "delay_ms": 10}` as the last user message changes that
    script   does what the last user message says, a JSON object:

        {"script": [STEP, …]}          one turn; every later turn of the same question answers "Done."
        {"turns": [[STEP, …], …]}      one list for each turn after the last user message; the last one repeats

A STEP is an object with one of these:

    {"text": "…"}                      say it, as one delta
    {"thinking": "…"}                  think it, as one delta
    {"delay_ms": 50}                   wait; a cancel ends the wait at once
    {"tool_call": {"name": "f", "arguments": {…}, "id": "…"}}    ask for a tool; arguments as text go out as they are
    {"usage": {"prompt": 1, "completion": 2}}                    say these counts; null: say none, they are estimated
    {"finish": "length"}               end with this finish reason
    {"cut": true}                      end here without an end marker
    {"error": "backend_unreachable", "message": "…"}             fail with the error of this code

Without a `usage` step words are counted as tokens, and the tools that are offered with them.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from models_registry import errors
from models_registry.backends import tokens
from models_registry.backends.base import (
    Cancellation,
    Capabilities,
    ChatMessage,
    ChatRequest,
    DeltaType,
    FinishReason,
    Health,
    ModelDetails,
    OnDelta,
    Reply,
    RequestedCall,
    Usage,
)
from models_registry.backends.options import DriverOptions
from models_registry.backends.settings import BackendSettings
from models_registry.backends.texts import json_object

OPTIONS = DriverOptions(
    defaults={"model": "echo", "max_tokens": 4096, "context_length": 128_000},
    refusal=lambda field, value, model: "",
)
MODELS = ("echo", "slow", "script")
_ERRORS: dict[str, type[errors.BackendError]] = {
    kind.code: kind
    for kind in (
        errors.BackendError,
        errors.BackendUnreachable,
        errors.BackendTimeout,
        errors.RateLimited,
        errors.StreamEnded,
        errors.ModelNotFound,
        errors.ContextWindowExceeded,
        errors.Unauthorized,
        errors.BadRequest,
        errors.BackendMisconfigured,
    )
}
_COUNTS = {"prompt", "completion", "cached", "reasoning"}
Step = Mapping[str, Any]


def steps(model: str, history: Sequence[ChatMessage]) -> Iterable[Step]:
    """The steps of the reply to `history`. Raises ModelNotFound, and BadRequest for a script that cannot be read."""
    question, turn = _question(history)
    if model == "echo":
        return [{"text": word} for word in _words(question)]
    if model == "slow":
        return _slow(json_object(question) or {})
    if model == "script":
        return _scripted(json_object(question) or {}, turn)
    raise errors.ModelNotFound(f"fake does not have the model {model!r}.")


def _question(history: Sequence[ChatMessage]) -> tuple[str, int]:
    """The last user message, and how many turns have answered it already."""
    turn = 0
    for message in reversed(history):
        if message.role == "user":
            return message.content, turn
        turn += message.role == "assistant"
    return "", turn


def _words(text: str) -> list[str]:
    """The words of a text, each with the blanks before it: joined they are the text."""
    return re.findall(r"\s*\S+|\s+$", text)


def _slow(asked: Mapping[str, Any]) -> Iterator[Step]:
    for number in range(1, int(_amount(asked.get("chunks", 20))) + 1):
        yield {"delay_ms": asked.get("delay_ms", 50)}
        yield {"text": f"{number} "}


def _scripted(asked: Mapping[str, Any], turn: int) -> Sequence[Step]:
    turns = asked.get("turns") or [asked.get("script"), [{"text": "Done."}]]
    script = turns[min(turn, len(turns) - 1)] if isinstance(turns, list) else None
    if not isinstance(script, list) or not all(isinstance(step, dict) for step in script):
        raise _bad_script('{"script": [{"text": "…"}, …]} is expected.')
    return script


def _amount(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e9:
        return value
    raise _bad_script(f"{value!r} is no amount.")


def _bad_script(reason: str) -> errors.BadRequest:
    return errors.BadRequest(f"The script is not valid: {reason}")


class FakeBackend:
    """Plays the steps. Its total limit holds; the other limits have nothing to measure."""

    driver = "fake"
    capabilities = Capabilities(function_calling=True)

    def __init__(self, configured: BackendSettings) -> None:
        self.name = configured.name

    def stream(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        performance = _Performance(request, on_delta, cancellation)
        cancellation.on_cancel(performance.woken.set)
        try:
            for step in steps(request.config.model, request.messages):
                performance.play(step)
                if performance.cut:
                    break
        finally:
            cancellation.on_cancel(None)
        return performance.reply()

    def health(self) -> Health:
        return Health(status="available", models=MODELS)

    def models(self) -> Sequence[ModelDetails]:
        return [ModelDetails(name=name, capabilities=("completion", "tools")) for name in MODELS]


class _Performance:
    """One reply as it is being given."""

    def __init__(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> None:
        self.woken = threading.Event()
        self.cut = False
        self._request = request
        self._on_delta = on_delta
        self._cancellation = cancellation
        self._end_at = time.monotonic() + request.timeouts.total
        self._said: dict[DeltaType, list[str]] = {kind: [] for kind in DeltaType}
        self._calls: list[RequestedCall] = []
        self._finish = ""
        self._usage: Mapping[str, Any] | None = {}
        self._verbs: dict[str, Callable[[Any], None]] = {
            "text": lambda text: self._say(DeltaType.CONTENT, str(text)),
            "thinking": lambda text: self._say(DeltaType.THINKING, str(text)),
            "delay_ms": self._wait,
            "tool_call": self._call,
            "usage": self._count,
            "finish": self._finish_with,
            "cut": self._cut,
        }

    def play(self, step: Step) -> None:
        """Do one step. Raises what it says, Cancelled, or BackendTimeout."""
        if self._cancellation.cancelled:
            raise errors.Cancelled
        if "error" in step:
            kind = _ERRORS.get(str(step["error"]), errors.BackendError)
            raise kind(str(step.get("message") or "The script says so."))
        for verb, value in step.items():
            if verb not in self._verbs:
                raise _bad_script(f"{verb!r} is no step.")
            self._verbs[verb](value)

    def _say(self, kind: DeltaType, text: str) -> None:
        if text:
            self._said[kind].append(text)
            self._on_delta(kind, text)

    def _wait(self, milliseconds: Any) -> None:
        remaining = self._end_at - time.monotonic()
        seconds = _amount(milliseconds) / 1000
        if self.woken.wait(max(0.0, min(seconds, remaining))):
            raise errors.Cancelled
        if seconds > remaining:
            raise errors.BackendTimeout(f"fake did not finish its answer within {self._request.timeouts.total:g} s.")

    def _call(self, asked: Any) -> None:
        if not isinstance(asked, dict) or not asked.get("name"):
            raise _bad_script("a tool_call needs a name.")
        given = asked.get("arguments", {})
        arguments = json_object(given) if isinstance(given, str) else given
        self._calls.append(
            RequestedCall(
                provider_id=str(asked.get("id", f"call_{len(self._request.messages)}_{len(self._calls)}")),
                name=str(asked["name"]),
                arguments=arguments if isinstance(arguments, dict) else None,
                raw_arguments="" if isinstance(arguments, dict) else str(given),
            )
        )

    def _count(self, usage: Any) -> None:
        if usage is not None and not (isinstance(usage, dict) and usage.keys() <= _COUNTS):
            raise _bad_script(f"usage holds {', '.join(sorted(_COUNTS))}, or is null.")
        self._usage = usage

    def _finish_with(self, reason: Any) -> None:
        if reason not in list(FinishReason):
            raise _bad_script(f"{reason!r} is no finish reason.")
        self._finish = reason

    def _cut(self, cut: Any) -> None:
        self.cut = bool(cut)

    def reply(self) -> Reply:
        natural = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
        calls = [replace(call, arguments=None) for call in self._calls] if self.cut else self._calls
        reply = Reply(
            content="".join(self._said[DeltaType.CONTENT]),
            thinking="".join(self._said[DeltaType.THINKING]),
            tool_calls=calls,
            finish_reason=None if self.cut else FinishReason(self._finish or natural),
            whole=not self.cut,
            model=self._request.config.model,
        )
        return replace(reply, usage=self._counted(reply))

    def _counted(self, reply: Reply) -> Usage:
        if self._usage is None:
            return tokens.estimate(self._request, reply)
        counted = Usage(
            prompt=sum(len(message.content.split()) for message in self._request.messages)
            + tokens.offered(self._request),
            completion=len(reply.content.split()) + len(reply.thinking.split()),
        )
        given: dict[str, Any] = {name: int(_amount(count)) for name, count in self._usage.items()}
        return replace(counted, **given)
