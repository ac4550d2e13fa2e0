"""From the lines of `POST /api/chat` to deltas and a `Reply`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from models_registry.backends.base import DeltaType, FinishReason, Reply, RequestedCall, Usage
from models_registry.backends.speech import Delta, Speech
from models_registry.backends.texts import clean, json_object
from models_registry.backends.values import count, mapping, objects, require_few, text


class ReplyBuilder:
    """Takes the objects of the lines in order; gives the deltas of each, and at the end the reply."""

    def __init__(self) -> None:
        self.done = False
        self._speech = Speech()
        self._calls: list[Mapping[str, Any]] = []
        self._reason = ""
        self._usage: Usage | None = None
        self._model = ""

    def add(self, chunk: Mapping[str, Any]) -> Iterator[Delta]:
        self._model = self._model or text(chunk.get("model"))
        self._reason = text(chunk.get("done_reason")) or self._reason
        self.done = chunk.get("done") is True or bool(self._reason)  # some send but one of the two
        self._usage = _usage(chunk) or self._usage
        message = mapping(chunk.get("message"))
        # They come whole, in any chunk, and nothing but their order can be relied on to tell them apart.
        self._calls += objects(message.get("tool_calls"))
        require_few(len(self._calls))
        yield from self._speech.say(DeltaType.THINKING, text(message.get("thinking")))
        yield from self._speech.say(DeltaType.CONTENT, text(message.get("content")))

    def finish(self) -> Iterator[Delta]:
        """What was held back at the end of the stream."""
        return self._speech.finish()

    @property
    def begun(self) -> bool:
        """Whether the model has said anything yet."""
        return self._speech.begun or bool(self._calls)

    def reply(self) -> Reply:
        """The reply so far. Calls of one that is not whole have no arguments: they must never be run."""
        return Reply(
            content=self._speech.text(DeltaType.CONTENT),
            thinking=self._speech.text(DeltaType.THINKING),
            tool_calls=[_requested(call, self.done) for call in self._calls],
            usage=self._usage,
            finish_reason=self._finish_reason() if self.done else None,
            whole=self.done,
            model=self._model,
        )

    def _finish_reason(self) -> FinishReason:
        if self._reason == "length":
            return FinishReason.LENGTH
        return FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP


def _requested(call: Mapping[str, Any], whole: bool) -> RequestedCall:
    function = mapping(call.get("function"))
    given = function.get("arguments")
    written = given if isinstance(given, str) else "" if given is None else json.dumps(given)
    arguments = json_object(written) if whole else None
    return RequestedCall(
        provider_id=clean(text(call.get("id"))),
        name=clean(text(function.get("name"))),
        arguments=arguments,
        raw_arguments=clean(written) if arguments is None else "",
    )


def _usage(chunk: Mapping[str, Any]) -> Usage | None:
    """The counts of the last line; one that is zero is left out by the server."""
    prompt, completion = (count(chunk.get(name)) for name in ("prompt_eval_count", "eval_count"))
    return Usage(prompt=prompt, completion=completion) if prompt or completion else None
