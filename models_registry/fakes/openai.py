"""A server that speaks OpenAI's chat completions. It refuses a history that the real one refuses; the model's name
chooses what else it does, see `scripts`."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models_registry.fakes import openai_rules
from models_registry.fakes.http import CUT, Move, Received, Script, Server, chunk, document, head

FOR_EVER = 3600.0
WORDS = ("The ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "lazy ", "dog. ")
STREAM_HEAD = head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})
DONE = b"data: [DONE]\n\n"
CALL = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
OTHER_CALL = {"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": '{"b":2}'}}
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def completion(**values: Any) -> bytes:
    """One chunk of a completion, as an event; `delta` and `finish_reason` make its only choice."""
    base: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stub"}
    if "delta" in values or "finish_reason" in values:
        choice = {"index": 0, "delta": values.pop("delta", {}), "finish_reason": values.pop("finish_reason", None)}
        base["choices"] = [choice]
    return event({**base, **values})


def streamed(*events: bytes, delay_seconds: float = 0.0) -> Script:
    """A response of these events, each in a chunk of its own; between them, a wait."""
    moves: list[Move] = [STREAM_HEAD]
    for data in events:
        moves += [chunk(data)] if not delay_seconds else [delay_seconds, chunk(data)]
    moves.append(chunk(b""))
    return [b"".join(move for move in moves if isinstance(move, bytes))] if not delay_seconds else moves


def answer_events(tokens: int, finish_reason: str = "stop") -> list[bytes]:
    """A reply of so many words, with usage and the end marker."""
    return [
        completion(delta={"role": "assistant", "content": ""}),
        *(completion(delta={"content": WORDS[number % len(WORDS)]}) for number in range(tokens)),
        completion(finish_reason=finish_reason),
        completion(choices=[], usage={"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens}),
        DONE,
    ]


def refusal(status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None) -> Script:
    return document(status, {"error": {"message": message, "type": "error", "code": code}}, headers)


def scripts(tokens: int = 20, delay_seconds: float = 0.02) -> dict[str, Script]:
    """What each model does."""
    begun = STREAM_HEAD + chunk(completion(delta={"content": "So "}))
    text = completion(delta={"content": "漢字"})
    return {
        "stub": streamed(*answer_events(tokens)),
        "stub-paced": streamed(*answer_events(tokens), delay_seconds=delay_seconds),
        **_shapes(),
        "stall-headers": [FOR_EVER],
        "stall-body": [begun, FOR_EVER],
        "trickle-headers": [move for _ in range(3600) for move in (b"H", 1.0)],
        "trickle": [STREAM_HEAD, *(move for _ in range(3600) for move in (chunk(b": still here\n"), 0.05))],
        "split-utf8": [
            STREAM_HEAD,
            *(move for byte in text + DONE for move in (chunk(bytes([byte])), 0.0)),
            chunk(b""),
        ],
        "cut": [begun + b"40\r\ndata: {", CUT],
        "cut-headers": [CUT],
        "error-in-200": streamed(
            completion(delta={"content": "So "}), event({"error": {"message": "it broke", "code": "server_error"}})
        ),
        "context": refusal(400, "This model's maximum context length is 4096 tokens.", "context_length_exceeded"),
        "http-400": refusal(400, "bad"),
        "http-401": refusal(401, "Incorrect API key provided: sk-1234", "invalid_api_key"),
        "http-404": refusal(404, "The model does not exist", "model_not_found"),
        "http-429": refusal(429, "slow down", "rate_limit_exceeded", {"retry-after": "7"}),
        "http-500": refusal(500, "the backtrace with /secret/paths"),
        "http-529": refusal(529, "overloaded"),
    }


def _shapes() -> dict[str, Script]:
    """Replies of every shape."""
    yes, usage = completion(delta={"content": "Yes."}), completion(choices=[], usage=USAGE)
    end = [completion(finish_reason="stop"), usage, DONE]
    return {
        "stub-tool": streamed(*_called(CALL)),
        "parallel-calls": streamed(*_called(CALL, OTHER_CALL)),
        "empty-arguments": streamed(*_called(CALL | {"function": {"name": "f", "arguments": ""}})),
        "invalid-arguments": streamed(*_called(CALL | {"function": {"name": "f", "arguments": '{"a":'}})),
        "thinking": streamed(completion(delta={"reasoning_content": "hm"}), yes, *end),
        "structured": streamed(*(completion(delta={"content": half}) for half in ('{"answer":', '"yes"}')), *end),
        "length": streamed(completion(delta={"content": "So "}), completion(finish_reason="length"), usage, DONE),
        "no-usage": streamed(yes, completion(finish_reason="stop"), DONE),
        "unknown-field": streamed(
            completion(delta={"content": "Yes.", "surprise": {"a": 1}}), b"event: surprise\ndata: {}\n\n", *end
        ),
        "early-eof": streamed(completion(delta={"content": "So "})),
    }


def _called(*calls: Mapping[str, Any]) -> list[bytes]:
    fragments = [completion(delta={"tool_calls": [call]}) for call in calls]
    return [*fragments, completion(finish_reason="tool_calls"), DONE]


class OpenAIServer(Server):
    """The scripts above, and those that are put into `scripts` under other names."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, tokens: int = 20, delay_seconds: float = 0.02
    ) -> None:
        super().__init__(self._choose, host=host, port=port)
        self.scripts: dict[str, Script] = scripts(tokens, delay_seconds)
        self.models_script: Callable[[], Script] = self._list

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def _choose(self, received: Received) -> Script:
        if received.method == "GET" and received.path == "/v1/models":
            return self.models_script()
        if received.method != "POST" or received.path != "/v1/chat/completions":
            return refusal(404, "no such path")
        if broken := openai_rules.broken(received.body["messages"]):
            return refusal(400, broken)
        return self.scripts.get(received.body["model"]) or self.scripts["http-404"]

    def _list(self) -> Script:
        return document(200, {"object": "list", "data": _models(list(self.scripts))})


def _models(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": name, "object": "model", "created": 1, "owned_by": "fake"} for name in names]
