"""A server that speaks Anthropic's Messages. It refuses what the real one refuses; the model chooses what it does."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from models_registry.fakes import anthropic_rules
from models_registry.fakes.http import CUT, Move, Received, Script, Server, chunk, document
from models_registry.fakes.openai import FOR_EVER, STREAM_HEAD, WORDS, streamed

SIGNED = {"type": "thinking", "thinking": "hm", "signature": anthropic_rules.signature("hm")}
USAGE = {"input_tokens": 12, "output_tokens": 1}
STOP: Mapping[str, Any] = {"type": "message_stop"}


def event(value: Mapping[str, Any]) -> bytes:
    """An event, its name and its data."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"event: {value['type']}\ndata: {data}\n\n".encode()


def begin(usage: Mapping[str, Any] = USAGE) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "stub", "content": [], "usage": usage}
    return event({"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}})


def block(index: int, start: Mapping[str, Any], *deltas: Mapping[str, Any]) -> list[bytes]:
    """The events of one block."""
    return [
        event({"type": "content_block_start", "index": index, "content_block": start}),
        *(event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas),
        event({"type": "content_block_stop", "index": index}),
    ]


def text(index: int, *pieces: str) -> list[bytes]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def thinking(index: int, *pieces: str) -> list[bytes]:
    """Thinking with its signature."""
    signature = {"type": "signature_delta", "signature": anthropic_rules.signature("".join(pieces))}
    said = ({"type": "thinking_delta", "thinking": piece} for piece in pieces)
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *said, signature)


def tool_use(index: int, call_id: str, name: str, *fragments: str) -> list[bytes]:
    start = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in fragments))


def ending(stop_reason: str = "end_turn", usage: Mapping[str, Any] | None = None) -> list[bytes]:
    """The last events. `usage` counts up to here; without it the output is 3 tokens."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    counted = {"output_tokens": 3} if usage is None else usage
    return [event({"type": "message_delta", "delta": delta, "usage": counted}), event(STOP)]


def error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def refusal(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Script:
    return document(status, error(kind, message), headers)


def answer_events(tokens: int) -> list[bytes]:
    """A reply of so many words."""
    words = (WORDS[number % len(WORDS)] for number in range(tokens))
    return [begin(), *text(0, *words), *ending("end_turn", {"output_tokens": tokens})]


def scripts(tokens: int = 20, delay_seconds: float = 0.02) -> dict[str, Script]:
    """What each model does."""
    return {**_answers(tokens, delay_seconds), **_shapes(), **_stalls(), **_failures()}


def _answers(tokens: int, delay_seconds: float) -> dict[str, Script]:
    utf8 = b"".join([begin(), *text(0, "漢字"), *ending()])
    bytewise: list[Move] = [move for byte in utf8 for move in (chunk(bytes([byte])), 0.0)]
    return {
        "stub": streamed(*answer_events(tokens)),
        "stub-paced": streamed(*answer_events(tokens), delay_seconds=delay_seconds),
        "split-utf8": [STREAM_HEAD, *bytewise, chunk(b"")],
    }


def _shapes() -> dict[str, Script]:
    """Replies of every shape."""
    call, other = tool_use(0, "toolu_1", "f", '{"a"', ":1}"), tool_use(1, "toolu_2", "g", '{"b":2}')
    surprise = [event({"type": "surprise", "a": 1}), *block(0, {"type": "surprise"})]
    shapes: dict[str, list[bytes]] = {
        "stub-tool": [*call, *ending("tool_use")],
        "stub-thinking": [
            *thinking(0, "h", "m"),
            event({"type": "ping"}),
            *tool_use(1, "toolu_1", "f", '{"a":1}'),
            *ending("tool_use", {"output_tokens": 20}),
        ],
        "parallel-calls": [*call, *other, *ending("tool_use")],
        "empty-arguments": [*tool_use(0, "toolu_1", "f"), *ending("tool_use")],
        "invalid-arguments": [*tool_use(0, "toolu_1", "f", '{"a":'), *ending("tool_use")],
        "thinking": [*thinking(0, "hm"), *text(1, "Yes."), *ending()],
        "structured": [*text(0, '{"answer":', '"yes"}'), *ending()],
        "length": [*text(0, "So "), *ending("max_tokens")],
        "refusal": [*text(0, "I would "), *ending("refusal")],
        "window-full": ending("model_context_window_exceeded"),
        "no-usage": [*text(0, "Yes."), *ending("end_turn", {"input_tokens": 0, "output_tokens": 0})],
        "unknown-field": [*surprise, *text(1, "Yes."), *ending()],
        "early-eof": text(0, "So "),
    }
    return {model: streamed(begin(), *events) for model, events in shapes.items()}


def _stalls() -> dict[str, Script]:
    begun = STREAM_HEAD + chunk(begin() + b"".join(text(0, "So ")))
    ping = chunk(event({"type": "ping"}))
    return {
        "stall-headers": [FOR_EVER],
        "stall-body": [begun, FOR_EVER],
        "trickle-headers": [move for _ in range(3600) for move in (b"H", 1.0)],
        "trickle": [STREAM_HEAD + chunk(begin()), *(move for _ in range(3600) for move in (ping, 0.05))],
        "cut": [begun + b"40\r\ndata: {", CUT],
        "cut-headers": [CUT],
    }


def _failures() -> dict[str, Script]:
    spent = error("rate_limit_error", "You have reached your monthly limit.")
    spent["error"]["details"] = {"error_code": "enforced_spend_limit_reached"}
    overloaded = event(error("overloaded_error", "it broke"))
    return {
        "error-in-200": streamed(begin(), *text(0, "So "), overloaded),
        "context": refusal(400, "invalid_request_error", "prompt is too long: 209 tokens > 200 maximum"),
        "http-400": refusal(400, "invalid_request_error", "bad"),
        "http-401": refusal(401, "authentication_error", "invalid x-api-key sk-1234"),
        "http-402": refusal(402, "billing_error", "no money"),
        "http-404": refusal(404, "not_found_error", "model: it is not here"),
        "http-413": refusal(413, "request_too_large", "Request exceeds the maximum size"),
        "http-429": refusal(429, "rate_limit_error", "slow down", {"retry-after": "7"}),
        "http-429-spent": document(429, spent),
        "http-500": refusal(500, "api_error", "the backtrace with /secret/paths"),
        "http-529": refusal(529, "overloaded_error", "Overloaded"),
    }


class AnthropicServer(Server):
    """The scripts above, and those that are put into `scripts` under other names."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, tokens: int = 20, delay_seconds: float = 0.02
    ) -> None:
        super().__init__(self._choose, host=host, port=port)
        self.scripts: dict[str, Script] = scripts(tokens, delay_seconds)
        self.models_script: Callable[[Mapping[str, str]], Script] = self._list
        self.page_models = 20

    @property
    def base_url(self) -> str:
        return self.url

    def _choose(self, received: Received) -> Script:
        if fault := anthropic_rules.broken_header(received.headers):
            return refusal(*fault)
        path = urlsplit(received.path)
        if received.method == "GET" and path.path == "/v1/models":
            return self.models_script({name: values[0] for name, values in parse_qs(path.query).items()})
        if received.method != "POST" or path.path != "/v1/messages":
            return refusal(404, "not_found_error", "Not Found")
        if broken := anthropic_rules.broken(received.body):
            return refusal(400, "invalid_request_error", broken)
        return self.scripts.get(received.body["model"]) or self.scripts["http-404"]

    def _list(self, asked: Mapping[str, str]) -> Script:
        names = list(self.scripts)
        first = names.index(asked["after_id"]) + 1 if "after_id" in asked else 0
        shown = names[first : first + self.page_models]
        more = len(names) > first + len(shown)
        ends = {"first_id": shown[0], "last_id": shown[-1]} if shown else {"first_id": None, "last_id": None}
        return document(200, {"data": _models(shown), "has_more": more, **ends})


def _models(names: Sequence[str]) -> list[dict[str, Any]]:
    supported = {"image_input": {"supported": True}, "thinking": {"supported": False}}
    common = {"type": "model", "created_at": "2026-01-01T00:00:00Z", "max_input_tokens": 200_000}
    return [{"id": name, "display_name": name, "capabilities": supported, **common} for name in names]
