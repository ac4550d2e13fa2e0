"""What Anthropic refuses of a request, in its words. A driver that gets past this would get past the real one."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

_FIELDS = {
    "model", "max_tokens", "messages", "system", "stream", "stop_sequences", "temperature", "top_p", "top_k",
    "thinking", "tools", "tool_choice", "output_config", "metadata",
}  # fmt: skip
LEAST_BUDGET = 1024
Body = Mapping[str, Any]


def signature(thinking: str) -> str:
    """The signature of a thinking block: it fits this text and no other."""
    return "sig-" + hashlib.sha256(thinking.encode()).hexdigest()[:24]


def broken_header(headers: Mapping[str, str]) -> tuple[int, str, str] | None:
    """Status, type and message of what is wrong with the headers, if anything is."""
    if not headers.get("x-api-key"):
        return 401, "authentication_error", "x-api-key header is required"
    if not headers.get("anthropic-version"):
        return 400, "invalid_request_error", "anthropic-version: header is required"
    return None


def broken(body: Body) -> str | None:
    """What is wrong with a body, if anything is."""
    return next(_faults(body), None)


def _faults(body: Body) -> Iterator[str]:
    yield from (f"{name}: Extra inputs are not permitted" for name in body if name not in _FIELDS)
    if not isinstance(body.get("max_tokens"), int):
        yield "max_tokens: Field required"
        return
    if not body.get("messages"):
        yield "messages: at least one message is required"
        return
    yield from _option_faults(body)
    yield from _thinking_faults(body)
    yield from _message_faults(body["messages"])
    yield from _call_faults(body)
    yield from _schema_faults(body.get("output_config", {}).get("format", {}).get("schema", {}))


def _option_faults(body: Body) -> Iterator[str]:
    if not 0 <= body.get("temperature", 1) <= 1:
        yield "temperature: range: 0..1"
    if "temperature" in body and "top_p" in body:
        yield "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    if "system" in body and not body["system"]:
        yield "system: text content blocks must be non-empty"


def _thinking_faults(body: Body) -> Iterator[str]:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "disabled":
        return
    if body.get("temperature", 1) != 1 or "top_k" in body:
        yield "`temperature` may only be set to 1 when thinking is enabled."
    if thinking["type"] == "enabled":
        if thinking["budget_tokens"] < LEAST_BUDGET:
            yield "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        if thinking["budget_tokens"] >= body["max_tokens"]:
            yield "`max_tokens` must be greater than `thinking.budget_tokens`."
        yield from _missing_thinking(body["messages"])


def _missing_thinking(messages: list[Body]) -> Iterator[str]:
    """A turn goes on over the answers of tools; it has to have begun with thinking."""
    asked = [number for number, message in enumerate(messages) if message["role"] == "user" and _asks(message)]
    said = messages[asked[-1] + 1 :] if asked else messages
    if said and "thinking" not in said[0]["content"][0]["type"]:
        yield "Expected `thinking` or `redacted_thinking`, but found `tool_use`."


def _asks(message: Body) -> bool:
    return all(block["type"] != "tool_result" for block in message["content"])


def _message_faults(messages: list[Body]) -> Iterator[str]:
    if messages[0]["role"] != "user":
        yield 'messages: first message must use the "user" role'
    for number, message in enumerate(messages):
        if message["role"] not in ("user", "assistant"):
            yield f"messages.{number}.role: Input should be 'user' or 'assistant'"
        for place, block in enumerate(message["content"]):
            yield from (f"messages.{number}.content.{place}: {fault}" for fault in _block_faults(block))


def _block_faults(block: Body) -> Iterator[str]:
    if block["type"] == "text" and not block["text"].strip():
        yield "text content blocks must contain non-whitespace text"
    if block["type"] == "thinking" and block.get("signature") != signature(block["thinking"]):
        yield "Invalid `signature` in `thinking` block"
    if block["type"] == "tool_use" and not isinstance(block["input"], dict):
        yield "tool_use.input: Input should be a valid dictionary"
    if block["type"] == "image" and block["source"]["data"].startswith("data:"):
        yield "Invalid base64 data"


def _call_faults(body: Body) -> Iterator[str]:
    """Every call answered at the beginning of the next message, and no answer without its call."""
    open_calls: list[str] = []
    used: set[str] = set()
    for number, message in enumerate(body["messages"]):
        place, blocks = f"messages.{number}", message["content"]
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        leading = [block.get("tool_use_id") for block in blocks[: len(answered)]]
        if unknown := [call_id for call_id in answered if call_id not in open_calls]:
            yield f"{place}: unexpected `tool_use_id` found in `tool_result` blocks: {unknown[0]}."
        if missing := [call_id for call_id in open_calls if call_id not in leading]:
            yield f"{place}: `tool_use` ids were found without `tool_result` blocks immediately after: {missing[0]}."
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len({*open_calls}) < len(open_calls) or used & {*open_calls}:
            yield f"{place}: `tool_use` ids must be unique"
        used |= {*open_calls}
    if open_calls:
        yield f"`tool_use` ids were found without `tool_result` blocks immediately after: {open_calls[0]}."
    if used and not body.get("tools"):
        yield "Requests which include `tool_use` or `tool_result` blocks must define tools"


def _schema_faults(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _schema_faults(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            yield "output_config.format.schema: For 'object' type, 'additionalProperties' must be set to false"
        for item in schema.values():
            yield from _schema_faults(item)
