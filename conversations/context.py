"""Which messages fit the model's window. Nothing is left out or shortened silently.

Sizes are counted by rule of thumb and corrected by a scale: what a backend counted for this conversation's earlier
requests, divided by what the rule had said of them.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models_registry.backends.base import ChatMessage, ChatRequest, ModelConfig, ToolSchema
from models_registry.backends.tokens import TOKENS_PER_IMAGE

# Bytes of UTF-8 per token, on the safe side for English and for scripts of several bytes a character.
BYTES_PER_TOKEN = 3.5
# What a chat template adds around each message.
TOKENS_PER_MESSAGE = 6
DEFAULT_OUTPUT_TOKENS = 512
# So much of a tool's answer is always sent: with less of it a model can do nothing.
SHORTENED_MIN_BYTES = 700
MARK_BYTES = 120
# A scale outside of these is no matter of tokenizers: something is wrong with the counts.
SCALE_MIN, SCALE_MAX = 0.5, 3.0


class ContextTooSmall(Exception):
    """Not even the system prompt and what follows the last user message fit the window, shortened as they may be."""


@dataclass(frozen=True)
class Chosen:
    """Messages for the request, oldest first: the newest of the history. How many older ones were left out.

    `shortened` says, by its place in the history, how many bytes of a tool's answer are sent.
    """

    messages: Sequence[ChatMessage]
    trimmed: int
    shortened: Mapping[int, int] = field(default_factory=dict)


def estimate(text: str) -> int:
    return int(len(text.encode()) / BYTES_PER_TOKEN) + 1


def message_tokens(message: ChatMessage) -> int:
    calls = "".join(call.name + json.dumps(dict(call.arguments or {})) for call in message.tool_calls)
    pictures = TOKENS_PER_IMAGE * len(message.images)
    return TOKENS_PER_MESSAGE + pictures + estimate(message.content + message.thinking + calls)


def scale(counts: Iterable[tuple[int, int]]) -> float:
    """How many tokens there really are for each that we think of, from pairs of `(estimated, counted)`."""
    pairs = [(estimated, counted) for estimated, counted in counts if estimated > 0 and counted > 0]
    if not pairs:
        return 1.0
    ratio = sum(counted for _, counted in pairs) / sum(estimated for estimated, _ in pairs)
    return min(max(ratio, SCALE_MIN), SCALE_MAX)


def choose(
    history: Sequence[ChatMessage],
    *,
    system_prompt: str,
    tools: Sequence[ToolSchema],
    config: ModelConfig,
    scale: float = 1.0,
) -> Chosen:
    """The newest messages that fit beside prompt, tools and the reserved output; all where the window is not known.

    The last user message and what follows it are never left out; an answer of a tool is never parted from its call.
    Where what follows the last user message is too long, its oldest long answers of tools are shortened.
    Raises ContextTooSmall.
    """
    if config.context_length is None:
        return Chosen(history, 0)
    blocks = _blocks(history)
    last = max((i for i, block in enumerate(blocks) if block[0].role == "user"), default=0)
    tail = [message for block in blocks[last:] for message in block]
    left = _budget(config, scale) - estimate(system_prompt) - TOKENS_PER_MESSAGE - _tools(tools) - _sum(tail)
    if left < 0:
        dropped = len(history) - len(tail)
        shortened = _shortened(tail, -left)
        return Chosen(shorten(tail, shortened), dropped, {dropped + place: kept for place, kept in shortened.items()})
    kept = tail
    for block in reversed(blocks[:last]):
        left -= _sum(block)
        if left < 0:
            break
        kept = [*block, *kept]
    return Chosen(kept, len(history) - len(kept))


def shorten(messages: Sequence[ChatMessage], shortened: Mapping[int, int]) -> list[ChatMessage]:
    """With the answers at these places cut to so many bytes; each says so in its text."""
    return [
        replace(message, content=_cut(message.content, shortened[place])) if place in shortened else message
        for place, message in enumerate(messages)
    ]


def size(request: ChatRequest) -> int:
    """Tokens that the request is thought to have, by rule of thumb."""
    return _sum(request.messages) + _tools(request.tools)


def _shortened(tail: Sequence[ChatMessage], excess: int) -> dict[int, int]:
    """By place, how many bytes to keep of tools' answers, so that so many tokens are saved. Raises ContextTooSmall."""
    kept: dict[int, int] = {}
    for place, message in enumerate(tail):
        if excess <= 0:
            break
        length = len(message.content.encode())
        room = max(SHORTENED_MIN_BYTES, length - MARK_BYTES - math.ceil((excess + 1) * BYTES_PER_TOKEN))
        if message.role == "tool" and length > room + MARK_BYTES:
            kept[place] = room
            excess -= estimate(message.content) - estimate(_cut(message.content, room))
    if excess > 0:
        raise ContextTooSmall
    return kept


def _cut(text: str, kept: int) -> str:
    data = text.encode()
    said = f"[shortened to fit the model's window: {len(data) - kept} of {len(data)} bytes are left out]"
    return f"{data[:kept].decode(errors='ignore')}\n{said}"


def _budget(config: ModelConfig, scale: float) -> int:
    """What the window has for a request, in tokens as our rule counts them."""
    window = config.context_length or 0
    # A window that its owner wants filled with output still has to hold the question.
    reserved = min(config.max_tokens or DEFAULT_OUTPUT_TOKENS, window // 2)
    return int((window - reserved) / scale)


def _sum(messages: Sequence[ChatMessage]) -> int:
    return sum(map(message_tokens, messages))


def _tools(tools: Sequence[ToolSchema]) -> int:
    return sum(estimate(tool.name + tool.description + json.dumps(dict(tool.parameters))) for tool in tools)


def _blocks(history: Sequence[ChatMessage]) -> list[list[ChatMessage]]:
    """Messages that stay together: an assistant's calls with the answers to them."""
    blocks: list[list[ChatMessage]] = []
    for message in history:
        if message.role == "tool" and blocks:
            blocks[-1].append(message)
        else:
            blocks.append([message])
    return blocks
