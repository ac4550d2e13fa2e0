"""From the events of a message to deltas and a `Reply`. What is unknown, of whatever kind, is ignored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models_registry.backends import anthropic_blocks
from models_registry.backends.anthropic_blocks import Block
from models_registry.backends.base import DeltaType, FinishReason, Reply, RequestedCall, Usage
from models_registry.backends.speech import Delta
from models_registry.backends.texts import clean, json_object
from models_registry.backends.values import require_few

WINDOW_FULL = "model_context_window_exceeded"
_PAUSED = "pause_turn"  # comes of the provider's own tools, which are not offered: there is more to say
_REASONS = {
    "max_tokens": FinishReason.LENGTH,
    WINDOW_FULL: FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
}
_KINDS = {"text": DeltaType.CONTENT, "thinking": DeltaType.THINKING}
_PIECES = {"text_delta": "text", "thinking_delta": "thinking"}
Event = Mapping[str, Any]


class ReplyBuilder:
    """Takes events in order; gives the deltas of each, and at the end the reply."""

    def __init__(self) -> None:
        self.done = False
        self.stop_reason = ""
        self._blocks: dict[Any, Block] = {}
        self._texts: dict[DeltaType, list[str]] = {kind: [] for kind in DeltaType}
        self._counts: dict[str, Any] = {}
        self._counted = False
        self._model = ""

    def add(self, event: Event) -> Iterator[Delta]:
        """Take one event, or a whole message of a server that does not stream."""
        kind = event.get("type")
        if kind == "message_start":
            self._begin(_object(event, "message"))
        elif kind == "message":
            self._begin(event)
            yield from self._whole(event)
        elif kind == "content_block_start":
            yield from self._open(event.get("index"), _object(event, "content_block"))
        elif kind == "content_block_delta":
            yield from self._grow(event.get("index"), _object(event, "delta"))
        elif kind == "content_block_stop":
            yield from self._close(event.get("index"))
        elif kind == "message_delta":
            self._end(_object(event, "delta"), _object(event, "usage"))
        elif kind == "message_stop":
            self.done = True

    def _begin(self, message: Event) -> None:
        self._model = _text(message, "model")
        self._counts |= _object(message, "usage")

    def _whole(self, message: Event) -> Iterator[Delta]:
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else []):
            yield from self._open(index, block if isinstance(block, dict) else {})
            yield from self._close(index)
        self._end(message, {})
        self.done = True

    def _end(self, delta: Event, counts: Event) -> None:
        self.stop_reason = _text(delta, "stop_reason") or self.stop_reason
        self._counts |= {name: count for name, count in counts.items() if count is not None}
        self._counted = True

    def _open(self, index: Any, value: Event) -> Iterator[Delta]:
        block = Block(
            type=_text(value, "type"),
            id=_text(value, "id"),
            name=_text(value, "name"),
            data=_text(value, "data"),
            signature=[_text(value, "signature")],
            input=_object(value, "input"),
        )
        self._blocks[index] = block
        if block.type == "tool_use":
            require_few(len(self._asked()))
        yield from self._say(block, _text(value, block.type))

    def _grow(self, index: Any, delta: Event) -> Iterator[Delta]:
        block = self._blocks.get(index)
        if block is None:
            return
        kind = _text(delta, "type")
        if _PIECES.get(kind) == block.type:
            yield from self._say(block, _text(delta, block.type))
        elif kind == "signature_delta":
            block.signature.append(_text(delta, "signature"))
        elif kind == "input_json_delta":
            block.arguments.append(_text(delta, "partial_json"))

    def _close(self, index: Any) -> Iterator[Delta]:
        if block := self._blocks.get(index):
            block.complete = True
            yield from self._said(block, block.cleaner.finish())

    def _say(self, block: Block, text: str) -> Iterator[Delta]:
        if text and block.type in _KINDS:
            yield from self._said(block, block.cleaner.feed(text))

    def _said(self, block: Block, text: str) -> Iterator[Delta]:
        if text:
            block.texts.append(text)
            self._texts[_KINDS[block.type]].append(text)
            yield _KINDS[block.type], text

    @property
    def begun(self) -> bool:
        """Whether the model has begun to say anything, be it nothing to be read yet."""
        return bool(self._blocks)

    @property
    def empty(self) -> bool:
        return not any(self._texts.values()) and not self._asked()

    @property
    def whole(self) -> bool:
        return self.done and self.stop_reason != _PAUSED

    def reply(self) -> Reply:
        """The reply so far. Calls that may not be all of what was meant have no arguments: they must never be run."""
        calls = [self._call(block) for block in self._asked()]
        return Reply(
            content="".join(self._texts[DeltaType.CONTENT]),
            thinking="".join(self._texts[DeltaType.THINKING]),
            tool_calls=calls,
            usage=self._usage(),
            finish_reason=self._reason(calls) if self.whole else None,
            whole=self.whole,
            model=self._model,
            provider_data=anthropic_blocks.kept(list(self._blocks.values())) if self.whole else {},
        )

    def _asked(self) -> list[Block]:
        return [block for block in self._blocks.values() if block.type == "tool_use"]

    def _call(self, block: Block) -> RequestedCall:
        text = "".join(block.arguments)
        arguments = (json_object(text) if text else block.input) if self._trusted(block) else None
        return RequestedCall(
            provider_id=clean(block.id),
            name=clean(block.name),
            arguments=arguments,
            raw_arguments=clean(text) if arguments is None else "",
        )

    def _trusted(self, block: Block) -> bool:
        """Whether the call is as it was meant: where a limit ends the reply, its last block is closed but cut."""
        reason = _REASONS.get(self.stop_reason)
        if reason is FinishReason.CONTENT_FILTER:
            return False
        cut = reason is FinishReason.LENGTH and block is list(self._blocks.values())[-1]
        return self.whole and block.complete and not cut

    def _reason(self, calls: Sequence[RequestedCall]) -> FinishReason:
        return _REASONS.get(self.stop_reason) or (FinishReason.TOOL_CALLS if calls else FinishReason.STOP)

    def _usage(self) -> Usage | None:
        """What the provider counted; until the last event the output is not counted yet."""
        read = _count(self._counts, "cache_read_input_tokens")
        prompt = _count(self._counts, "input_tokens") + _count(self._counts, "cache_creation_input_tokens") + read
        completion = _count(self._counts, "output_tokens")
        if not self._counted or not (prompt or completion):
            return None
        thought = _count(_object(self._counts, "output_tokens_details"), "thinking_tokens")
        return Usage(prompt=prompt, completion=completion, cached=read, reasoning=thought)


def _object(value: Event, name: str) -> Event:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Event, name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _count(value: Event, name: str) -> int:
    found = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0
