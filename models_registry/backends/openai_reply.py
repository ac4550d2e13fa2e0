"""From the chunks of a chat completion to deltas and a `Reply`, with what servers are known to do differently."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models_registry.backends.base import DeltaType, FinishReason, Reply, RequestedCall, Usage
from models_registry.backends.speech import Delta, Speech
from models_registry.backends.texts import clean, json_object
from models_registry.backends.values import count, mapping, objects, require_few

_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


class ReplyBuilder:
    """Takes chunks in order; gives the deltas of each, and at the end the reply."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self.done = False
        self._speech = Speech()
        self._calls = CallBuilder()
        self._usage: Usage | None = None
        self._model = ""

    def add(self, chunk: Mapping[str, Any]) -> Iterator[Delta]:
        """Take one chunk, or a whole completion, whose `message` is shaped like a delta."""
        self._model = self._model or _text(chunk.get("model"))
        self._usage = _usage(chunk.get("usage")) or self._usage
        for choice in objects(chunk.get("choices")):
            self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason
            self.done = self.done or "message" in choice  # a whole completion has no other end marker
            delta = choice.get("delta") or choice.get("message")
            if isinstance(delta, dict):
                yield from self._delta(delta)

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[Delta]:
        self._calls.add(objects(delta.get("tool_calls")))
        thinking = delta.get("reasoning_content") or delta.get("reasoning")
        for kind, value in ((DeltaType.THINKING, thinking), (DeltaType.CONTENT, delta.get("content"))):
            yield from self._speech.say(kind, _text(value))

    def finish(self) -> Iterator[Delta]:
        """What was held back at the end of the stream."""
        return self._speech.finish()

    @property
    def begun(self) -> bool:
        """Whether the model has said anything yet."""
        return self._speech.begun or bool(self._calls.count)

    @property
    def whole(self) -> bool:
        return self.done or bool(self.finish_reason)

    def reply(self) -> Reply:
        """The reply so far. Calls of one that is not whole have no arguments: half a call must never be run."""
        calls = self._calls.calls(whole=self.whole)
        return Reply(
            content=self._speech.text(DeltaType.CONTENT),
            thinking=self._speech.text(DeltaType.THINKING),
            tool_calls=calls,
            usage=self._usage,
            finish_reason=self._reason(calls) if self.whole else None,
            whole=self.whole,
            model=self._model,
        )

    def _reason(self, calls: Sequence[RequestedCall]) -> FinishReason:
        reason = _REASONS.get(self.finish_reason, FinishReason.STOP)
        if reason in (FinishReason.STOP, FinishReason.TOOL_CALLS):  # which of the two is decided by what is there
            return FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        return reason


@dataclass
class _Call:
    index: int | None
    id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.arguments)

    @property
    def complete(self) -> bool:
        text = self.text.strip()
        return text.endswith("}") and json_object(text) is not None


class CallBuilder:
    """Joins the fragments of tool calls."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, fragments: Sequence[Mapping[str, Any]]) -> None:
        for fragment in fragments:
            function = mapping(fragment.get("function"))
            self._fragment(fragment, _text(function.get("name")), _arguments(function.get("arguments")))

    def _fragment(self, fragment: Mapping[str, Any], name: str, arguments: str) -> None:
        index, call_id = fragment.get("index"), _text(fragment.get("id"))
        call = self._find(index if isinstance(index, int) else None, call_id)
        if call is None or _is_another(call, call_id, name, arguments):
            call = _Call(index if isinstance(index, int) else None, call_id)
            self._calls.append(call)
            require_few(len(self._calls))
        call.id = call.id or call_id
        call.name = call.name or name
        if arguments:
            call.arguments.append(arguments)

    def _find(self, index: int | None, call_id: str) -> _Call | None:
        """The newest call that the fragment may belong to."""
        for call in reversed(self._calls):
            if call_id and call.id == call_id and index in (None, call.index):
                return call
        return next((call for call in reversed(self._calls) if index in (None, call.index)), None)

    @property
    def count(self) -> int:
        return len(self._calls)

    def calls(self, *, whole: bool) -> list[RequestedCall]:
        return [_requested(call, whole) for call in self._calls]


def _is_another(call: _Call, call_id: str, name: str, arguments: str) -> bool:
    """Whether a fragment begins a new call although it has the index of `call`, or none."""
    for new, old in ((call_id, call.id), (name, call.name)):
        if new and old and new != old:
            return True
    # Nothing can follow a whole object; a server that sends whole calls may give all of them the same index and id.
    return bool(name and arguments.strip()) and call.complete


def _requested(call: _Call, whole: bool) -> RequestedCall:
    arguments = json_object(call.text) if whole else None
    return RequestedCall(
        provider_id=clean(call.id),
        name=clean(call.name),
        arguments=arguments,
        raw_arguments=clean(call.text) if arguments is None else "",
    )


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict) else ""


def _text(value: Any) -> str:
    """A string; the texts of a list of parts, joined; anything else is empty."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in objects(value))
    return value if isinstance(value, str) else ""


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict) or not (value.get("prompt_tokens") or value.get("completion_tokens")):
        return None
    return Usage(
        prompt=count(value.get("prompt_tokens")),
        completion=count(value.get("completion_tokens")),
        cached=count(mapping(value.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning=count(mapping(value.get("completion_tokens_details")).get("reasoning_tokens")),
    )
