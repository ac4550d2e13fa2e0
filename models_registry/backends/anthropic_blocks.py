"""The blocks of an assistant's message: as they grow, as they are kept, and as they go back.

Signed thinking has to go back as it came, in its place among the other blocks. What is kept of a reply is that
thinking, and of texts and calls their place only: `ChatMessage` holds them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models_registry.backends.base import ChatMessage
from models_registry.backends.texts import Cleaner, clean

KEY = "anthropic_blocks"  # in a message's `provider_data`
Body = dict[str, Any]


@dataclass
class Block:
    """One block of a message as it grows; `complete` when its end has come."""

    type: str
    id: str = ""
    name: str = ""
    data: str = ""
    texts: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    input: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    cleaner: Cleaner = field(default_factory=Cleaner)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def signed(self) -> bool:
        """Whether the provider wants the block back."""
        return self.type == "redacted_thinking" or (self.type == "thinking" and any(self.signature))

    def kept(self) -> Body | None:
        """What has to be kept of the block; None of one that never goes back."""
        if self.type == "text":
            return {"type": "text", "characters": len(self.text)}
        if self.type == "tool_use":
            return {"type": "tool_use"}
        if not self.signed:
            return None
        if self.type == "redacted_thinking":
            return {"type": self.type, "data": clean(self.data)}
        return {"type": self.type, "thinking": self.text, "signature": clean("".join(self.signature))}


def kept(blocks: Sequence[Block]) -> Mapping[str, Any]:
    """The `provider_data` of a reply; empty where nothing is signed."""
    if not any(block.signed for block in blocks):
        return {}
    return {KEY: [value for block in blocks if (value := block.kept())]}


def sent(message: ChatMessage, calls: Sequence[Body], *, with_thinking: bool) -> list[Body]:
    """The blocks of an assistant's message; `calls` are its calls as blocks."""
    return [block for block in _placed(message, iter(calls)) if with_thinking or "thinking" not in block["type"]]


def _placed(message: ChatMessage, calls: Iterator[Body]) -> Iterator[Body]:
    rest = message.content
    for place in _places(message):
        if place["type"] == "text":
            yield from texts(rest[: place["characters"]])
            rest = rest[place["characters"] :]
        elif place["type"] == "tool_use":
            yield from _next(calls)
        else:
            yield dict(place)
    yield from texts(rest)
    yield from calls


def _places(message: ChatMessage) -> Sequence[Body]:
    places: Sequence[Body] = message.provider_data.get(KEY, ())
    if sum(place.get("characters", 0) for place in places) == len(message.content):
        return places
    return [place for place in places if "thinking" in place["type"]]  # the call was told as text, or the like


def _next(calls: Iterator[Body]) -> Iterator[Body]:
    call = next(calls, None)
    return iter([call] if call else [])


def texts(text: str) -> list[Body]:
    """A text as a block; a blank one is none, for the provider refuses it."""
    return [{"type": "text", "text": text}] if text.strip() else []
