"""From a `ChatRequest` to the body of `POST /api/chat`."""

from collections.abc import Sequence
from typing import Any

from models_registry.backends.base import ChatMessage, ChatRequest, ModelConfig, RequestedCall
from models_registry.backends.call_ids import CallIds
from models_registry.backends.ollama_options import CONTEXT_LENGTH, MAX_TOKENS

_SAMPLING = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
Body = dict[str, Any]


def body(request: ChatRequest, keep_alive: str) -> Body:
    """The request as JSON values. `keep_alive`: a duration such as `5m`, or seconds; negative: for ever."""
    built: Body = {
        "model": request.config.model,
        "messages": messages(request.messages),
        "stream": True,
        "truncate": False,  # else it drops old messages and says nothing
        "options": options(request.config),
        "keep_alive": duration(keep_alive),
    }
    if request.config.think is not None:
        built["think"] = request.config.think
    if request.tools:
        built["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
            }
            for tool in request.tools
        ]
    if request.response_schema is not None:
        built["format"] = dict(request.response_schema)
    return built


def loading(model: str, config: ModelConfig, keep_alive: str) -> Body:
    """The request that only brings a model into memory, as a call with `config` needs it."""
    return {
        "model": model,
        "messages": [],
        "stream": False,
        "options": {"num_ctx": window(config)},
        "keep_alive": duration(keep_alive),
    }


def unloading(model: str) -> Body:
    return {"model": model, "messages": [], "stream": False, "keep_alive": 0}


def options(config: ModelConfig) -> Body:
    """The window and the limit are always sent: the server's own follow its memory, and reloading takes minutes."""
    built: Body = {"num_ctx": window(config), "num_predict": config.max_tokens or MAX_TOKENS}
    built |= {name: getattr(config, name) for name in _SAMPLING if getattr(config, name) is not None}
    if config.stop_sequences:
        built["stop"] = list(config.stop_sequences)
    return built


def window(config: ModelConfig) -> int:
    """Tokens of the window that a call with this configuration asks for."""
    return config.context_length or CONTEXT_LENGTH


def duration(value: str) -> str | int:
    """A number without a unit is refused as text."""
    try:
        return int(value)
    except ValueError:
        return value


def messages(history: Sequence[ChatMessage]) -> list[Body]:
    """The history in the provider's shape; older servers match answers with calls by the tool's name and order."""
    ids = CallIds()
    return [_message(message, number, ids) for number, message in enumerate(history)]


def _message(message: ChatMessage, number: int, ids: CallIds) -> Body:
    built: Body = {"role": message.role, "content": message.content}
    if message.role == "tool":
        return built | {"tool_name": message.name, "tool_call_id": ids.answered(message)}
    if message.images:
        built["images"] = [image.data_base64 for image in message.images]
    if message.tool_calls:
        given = ids.called(message.tool_calls, number)
        built["tool_calls"] = [
            _call(call, call_id, place)
            for place, (call, call_id) in enumerate(zip(message.tool_calls, given, strict=True))
        ]
        if message.thinking:  # a model that thinks between its calls goes on from there
            built["thinking"] = message.thinking
    return built


def _call(call: RequestedCall, call_id: str, place: int) -> Body:
    # An object always: text is refused, and arguments that could not be read are told of by the call's answer.
    arguments = dict(call.arguments or {})
    return {"id": call_id, "function": {"index": place, "name": call.name, "arguments": arguments}}
