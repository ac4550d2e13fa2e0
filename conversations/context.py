"""Which messages fit the model's window. Nothing is left out silently."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from models_registry.backends.base import ChatMessage, ChatRequest, ModelConfig, ToolSchema

# Bytes of UTF-8 per token, on the safe side for English and for scripts of several bytes a character.
BYTES_PER_TOKEN = 3.5
# What a chat template adds around each message.
TOKENS_PER_MESSAGE = 6
DEFAULT_OUTPUT_TOKENS = 512


class ContextTooSmall(Exception):
    """Not even the system prompt and the last user message fit the window."""


@dataclass(frozen=True)
class Chosen:
    """Messages for the request, oldest first, and how many were left out."""

    messages: Sequence[ChatMessage]
    trimmed: int


def estimate(text: str) -> int:
    return int(len(text.encode()) / BYTES_PER_TOKEN) + 1


def message_tokens(message: ChatMessage) -> int:
    calls = "".join(call.name + json.dumps(dict(call.arguments or {})) for call in message.tool_calls)
    return TOKENS_PER_MESSAGE + estimate(message.content + message.thinking + calls)


def choose(
    history: Sequence[ChatMessage], *, system_prompt: str, tools: Sequence[ToolSchema], config: ModelConfig
) -> Chosen:
    """The newest messages that fit beside prompt, tools and the reserved output; all where the window is not known.

    The last user message and what follows it are never left out; an answer of a tool is never parted from its call.
    Raises ContextTooSmall.
    """
    if config.context_length is None:
        return Chosen(history, 0)
    budget = config.context_length - _reserved(config) - estimate(system_prompt) - TOKENS_PER_MESSAGE - _tools(tools)
    blocks = _blocks(history)
    last = max((i for i, block in enumerate(blocks) if block[0].role == "user"), default=0)
    kept = [message for block in blocks[last:] for message in block]
    budget -= sum(map(message_tokens, kept))
    if budget < 0:
        raise ContextTooSmall
    for block in reversed(blocks[:last]):
        budget -= sum(map(message_tokens, block))
        if budget < 0:
            break
        kept = [*block, *kept]
    return Chosen(kept, len(history) - len(kept))


def size(request: ChatRequest) -> int:
    """Tokens that the request is thought to have."""
    return sum(map(message_tokens, request.messages)) + _tools(request.tools)


def _reserved(config: ModelConfig) -> int:
    # A window that its owner wants filled with output still has to hold the question.
    wanted = config.max_tokens or DEFAULT_OUTPUT_TOKENS
    return min(wanted, (config.context_length or wanted) // 2)


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
