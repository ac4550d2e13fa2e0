"""From a `ChatRequest` to the body of `POST /chat/completions`."""

import json
from collections.abc import Sequence
from typing import Any

from models_registry import limits
from models_registry.backends.base import ChatMessage, ChatRequest, Image, ModelConfig, RequestedCall
from models_registry.backends.call_ids import CallIds

_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")
Body = dict[str, Any]


def body(request: ChatRequest, *, extensions: bool) -> Body:
    """The request as JSON values. `extensions`: the server takes `top_k` and `chat_template_kwargs` too."""
    built: Body = {
        "model": request.config.model,
        "messages": messages(request.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        **_options(request.config),
    }
    if extensions:
        built |= _extensions(request.config)
    if request.tools:
        built["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
            }
            for tool in request.tools
        ]
    if request.response_schema is not None:
        built["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": dict(request.response_schema)},
        }
    return built


def _options(config: ModelConfig) -> Body:
    rule = limits.rule(config.model)
    built: Body = {name: getattr(config, name) for name in _SAMPLING if getattr(config, name) is not None}
    if config.max_tokens is not None:
        built["max_completion_tokens" if rule.reasons else "max_tokens"] = config.max_tokens
    if config.stop_sequences:
        built["stop"] = list(config.stop_sequences)
    if isinstance(config.think, str):
        built["reasoning_effort"] = config.think
    return built


def _extensions(config: ModelConfig) -> Body:
    built: Body = {}
    if config.top_k is not None:
        built["top_k"] = config.top_k
    if isinstance(config.think, bool):
        built["chat_template_kwargs"] = {"enable_thinking": config.think}
    return built


def messages(history: Sequence[ChatMessage]) -> list[Body]:
    """The history in the provider's shape. A call and its answer carry the same id, one that no other call has."""
    ids = CallIds()
    return [_message(message, number, ids) for number, message in enumerate(history)]


def _message(message: ChatMessage, number: int, ids: CallIds) -> Body:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": ids.answered(message), "content": message.content}
    built: Body = {"role": message.role, "content": _content(message)}
    if message.tool_calls:
        given = ids.called(message.tool_calls, number)
        built["tool_calls"] = [_call(call, call_id) for call, call_id in zip(message.tool_calls, given, strict=True)]
    return built


def _content(message: ChatMessage) -> str | list[Body]:
    if not message.images:
        return message.content
    text = [{"type": "text", "text": message.content}] if message.content else []
    return [*text, *(_image(image) for image in message.images)]


def _image(image: Image) -> Body:
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data_base64}"}}


def _call(call: RequestedCall, call_id: str) -> Body:
    # Arguments that were not JSON go back as an empty object: servers parse them again for their templates.
    arguments = json.dumps(dict(call.arguments)) if call.arguments is not None else "{}"
    return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
