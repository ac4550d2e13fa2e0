"""From a `ChatRequest` to the body of `POST /v1/messages`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models_registry.backends import anthropic_blocks, anthropic_schema, anthropic_thinking
from models_registry.backends.base import ChatMessage, ChatRequest, ModelConfig, RequestedCall, ToolSchema
from models_registry.backends.call_ids import CallIds

_SAMPLING = ("temperature", "top_p", "top_k")
_LEFT_OUT = "[Earlier messages were left out.]"
_NO_ANSWER = "Error: no answer to this call was kept."
Body = dict[str, Any]


def body(request: ChatRequest) -> Body:
    """The request as JSON values."""
    history = messages(request.messages, bound=anthropic_thinking.is_bound(request.config.model))
    built: Body = {
        "model": request.config.model,
        "max_tokens": request.config.max_tokens or anthropic_thinking.MAX_TOKENS,
        "messages": history,
        "stream": True,
        **_options(request.config),
        **_tools(request.tools, history),
    }
    system = [message.content for message in request.messages if message.role == "system" and message.content]
    if system:
        built["system"] = "\n\n".join(system)
    if output := _output(request):
        built["output_config"] = output
    if built.get("thinking", {}).get("type") == "enabled" and _began_without_thinking(history):
        del built["thinking"]
    return built


def _options(config: ModelConfig) -> Body:
    built: Body = {name: getattr(config, name) for name in _SAMPLING if getattr(config, name) is not None}
    if config.stop_sequences:
        built["stop_sequences"] = list(config.stop_sequences)
    return built | anthropic_thinking.thinking(config)


def _output(request: ChatRequest) -> Body:
    built: Body = anthropic_thinking.effort(request.config)
    if request.response_schema is not None:
        built["format"] = {"type": "json_schema", "schema": anthropic_schema.strict(request.response_schema)}
    return built


def _tools(offered: Sequence[ToolSchema], history: Sequence[Body]) -> Body:
    """The tools on offer. A history with calls needs tools, so what was called is named, and not to be called again."""
    if offered:
        return {"tools": [_tool(tool.name, tool.description, tool.parameters) for tool in offered]}
    called = {block["name"]: None for message in history for block in _calls(message)}
    if not called:
        return {}
    return {"tools": [_tool(name, "No longer available.", {}) for name in called], "tool_choice": {"type": "none"}}


def _tool(name: str, description: str, parameters: Mapping[str, Any]) -> Body:
    return {"name": name, "description": description, "input_schema": {"type": "object", **parameters}}


def messages(history: Sequence[ChatMessage], *, bound: bool) -> list[Body]:
    """The history in the provider's shape: a user's first, roles in turn, every call answered in the next message.

    `bound`: the model takes its thinking back only after the very prompt that it came from.
    """
    merged: list[Body] = []
    for role, blocks in _blocks(history, _last_question(history, bound)):
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += blocks
        else:
            merged.append({"role": role, "content": blocks})
    if merged and merged[0]["role"] == "assistant":
        merged.insert(0, {"role": "user", "content": anthropic_blocks.texts(_LEFT_OUT)})
    return _answered(merged)


def _blocks(history: Sequence[ChatMessage], question: int) -> Iterator[tuple[str, list[Body]]]:
    """Role and blocks of each message that says anything. Thinking goes back while its question is being answered."""
    ids = CallIds()
    for number, message in enumerate(history):
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if message.role == "assistant":
            given = ids.called(message.tool_calls, number)
            calls = [_call(call, call_id) for call, call_id in zip(message.tool_calls, given, strict=True)]
            blocks = anthropic_blocks.sent(message, calls, with_thinking=number > question)
        else:
            blocks = [_result(message, ids)] if message.role == "tool" else _said(message)
        if blocks:
            yield role, blocks


def _last_question(history: Sequence[ChatMessage], bound: bool) -> int:
    """Where the question is that is being answered.

    What follows an answer of a tool is added to a question, and the thinking before it is still wanted; but it may also
    be the question of another run, whose prompt is another, and then thinking that is bound would be refused.
    """
    for number in range(len(history) - 1, -1, -1):
        asks = history[number].role == "user"
        if asks and (bound or number == 0 or history[number - 1].role not in ("tool", "user")):
            return number
    return -1


def _began_without_thinking(history: Sequence[Body]) -> bool:
    """Whether the turn that goes on has begun without thinking, which then is refused until it is over."""
    began = [number for number, message in enumerate(history) if message["role"] == "user" and not _results(message)]
    said = history[began[-1] + 1 :] if began else history
    return bool(said) and "thinking" not in said[0]["content"][0]["type"]


def _said(message: ChatMessage) -> list[Body]:
    images: list[Body] = [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": image.media_type, "data": image.data_base64},
        }
        for image in message.images
    ]
    return images + anthropic_blocks.texts(message.content)


def _call(call: RequestedCall, call_id: str) -> Body:
    return {"type": "tool_use", "id": call_id, "name": call.name, "input": dict(call.arguments or {})}


def _result(message: ChatMessage, ids: CallIds) -> Body:
    answer = anthropic_blocks.texts(message.content)
    return {"type": "tool_result", "tool_use_id": ids.answered(message), **({"content": answer} if answer else {})}


def _results(message: Body) -> list[Body]:
    return [block for block in message["content"] if block["type"] == "tool_result"]


def _calls(message: Body) -> list[Body]:
    return [block for block in message["content"] if block["type"] == "tool_use"]


def _answered(merged: list[Body]) -> list[Body]:
    """The messages with all results of a turn first in the next one, and one for each call that has none."""
    built: list[Body] = []
    for message in merged:
        if built and (asked := _calls(built[-1])):
            message = {**message, "content": _results_first(asked, message["content"])}
        built.append(message)
    if built and (asked := _calls(built[-1])):
        built.append({"role": "user", "content": _results_first(asked, [])})
    return built


def _results_first(asked: Sequence[Body], content: Sequence[Body]) -> list[Body]:
    results = {block["tool_use_id"]: block for block in _results({"content": content})}
    missing = anthropic_blocks.texts(_NO_ANSWER)
    for call in asked:
        results.setdefault(call["id"], {"type": "tool_result", "tool_use_id": call["id"], "content": missing})
    return [*results.values(), *(block for block in content if block["type"] != "tool_result")]
