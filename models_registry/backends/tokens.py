"""Tokens, counted by rule of thumb where a backend does not say."""

import json

from models_registry.backends.base import ChatMessage, ChatRequest, Reply, Usage

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 768  # as Ollama counts them


def estimate(request: ChatRequest, reply: Reply) -> Usage:
    """Usage of a call from the length of its texts, marked as estimated."""
    said = sum(_message(message) for message in request.messages)
    called = sum(_tokens(f"{call.name} {call.arguments or call.raw_arguments}") for call in reply.tool_calls)
    thought = _tokens(reply.thinking)
    return Usage(
        prompt=said + offered(request),
        completion=_tokens(reply.content) + thought + called,
        reasoning=thought,
        estimated=True,
    )


def offered(request: ChatRequest) -> int:
    """What the tools take of a request."""
    return sum(_tokens(f"{tool.name} {tool.description} {json.dumps(tool.parameters)}") for tool in request.tools)


def _message(message: ChatMessage) -> int:
    return _tokens(message.content) + TOKENS_PER_MESSAGE + TOKENS_PER_IMAGE * len(message.images)


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
