"""What the models of the Ollama test server answer to `POST /api/chat`."""

import json
from typing import Any

from models_registry.fakes.http import CUT, Move, Script, chunk, document, head
from models_registry.fakes.openai import FOR_EVER, WORDS

LINES_HEAD = head(200, {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"})
COUNTS = {"prompt_eval_count": 12, "eval_count": 3}
CALL = {"id": "call_a", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
OTHER_CALL = {"id": "call_b", "function": {"index": 1, "name": "g", "arguments": {"b": 2}}}
LONG_TEXT = "x" * 100_000


def line(**values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def said(content: str = "", *, done: bool = False, **message: Any) -> bytes:
    """One line of a reply."""
    said = {"role": "assistant", "content": content, **message}
    return line(model="stub", created_at="2026-01-01T00:00:00Z", message=said, done=done)


def ended(
    content: str = "", *, done_reason: str = "stop", counts: dict[str, int] | None = None, **message: Any
) -> bytes:
    """The last line of a reply."""
    said = {"role": "assistant", "content": content, **message}
    durations = {"total_duration": 9, "load_duration": 1}
    return line(
        model="stub", message=said, done=True, done_reason=done_reason,
        **durations, **(COUNTS if counts is None else counts),
    )  # fmt: skip


def streamed(*lines: bytes, delay_seconds: float = 0.0) -> Script:
    """A response of these lines, each in a chunk of its own; between them, a wait."""
    if not delay_seconds:
        return [b"".join([LINES_HEAD, *map(chunk, lines), chunk(b"")])]
    moves: list[Move] = [LINES_HEAD]
    for data in lines:
        moves += [delay_seconds, chunk(data)]
    return [*moves, chunk(b"")]


def refusal(status: int, message: str, **values: Any) -> Script:
    return document(status, {"error": message, **values})


def scripts(tokens: int, delay_seconds: float) -> dict[str, Script]:
    """What each model does."""
    return {**_answers(tokens, delay_seconds), **_calls(), **_odd(), **_stalls(), **_failures()}


def _answers(tokens: int, delay_seconds: float) -> dict[str, Script]:
    counts = {"prompt_eval_count": 12, "eval_count": tokens}
    answer = [*(said(WORDS[number % len(WORDS)]) for number in range(tokens)), ended(counts=counts)]
    return {
        "stub": streamed(*answer),
        "stub-paced": streamed(*answer, delay_seconds=delay_seconds),
        "thinking": streamed(said(thinking="hm"), said("Yes."), ended()),
        "structured": streamed(said('{"answer":'), said('"yes"}'), ended()),
        "length": streamed(said("So "), ended(done_reason="length")),
    }


def _calls() -> dict[str, Script]:
    nameless = {"function": {"index": 0, "name": "f", "arguments": {}}}
    broken = {"id": "call_a", "function": {"index": 0, "name": "f", "arguments": '{"a":'}}
    empty = {"id": "call_a", "function": {"index": 0, "name": "f", "arguments": {}}}
    return {
        "stub-tool": streamed(said(tool_calls=[CALL]), ended()),
        "parallel-calls": streamed(said(tool_calls=[CALL, OTHER_CALL]), ended()),
        "empty-arguments": streamed(said(tool_calls=[empty]), ended()),
        "invalid-arguments": streamed(said(tool_calls=[broken]), ended()),
        "last-line-call": streamed(ended(tool_calls=[nameless])),
    }


def _odd() -> dict[str, Script]:
    utf8 = said("漢字") + ended()
    odd = ended(counts=COUNTS | {"odd_count": 1})
    return {
        "no-usage": streamed(said("Yes."), ended(counts={})),
        "unknown-field": streamed(said("Yes.", surprise={"a": 1}), line(surprise=[1]), odd),
        "long-line": streamed(said(LONG_TEXT), ended()),
        "split-utf8": [LINES_HEAD, *(move for byte in utf8 for move in (chunk(bytes([byte])), 0.0)), chunk(b"")],
    }


def _stalls() -> dict[str, Script]:
    begun = LINES_HEAD + chunk(said("So "))
    return {
        "stall-headers": [FOR_EVER],
        "stall-body": [begun, FOR_EVER],
        "trickle-headers": [move for _ in range(3600) for move in (b"H", 1.0)],
        "trickle": [LINES_HEAD, *(move for _ in range(3600) for move in (chunk(b"\n"), 0.05))],
        "early-eof": streamed(said("So ")),
        "cut": [begun + b'40\r\n{"message":{', CUT],
        "cut-headers": [CUT],
    }


def _failures() -> dict[str, Script]:
    crashed = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
    return {
        "error-in-200": streamed(said("So "), line(error="an error was encountered: it broke")),
        "crash": streamed(said("So "), line(error=crashed)),
        "context": refusal(400, "the prompt is longer than the context length of the model"),
        "http-400": refusal(400, "bad"),
        "http-401": refusal(401, "unauthorized", signin_url="https://sign.in/?key=sk-1234"),
        "http-404": refusal(404, "model 'http-404' not found"),
        "http-429": document(429, {"error": "slow down"}, {"retry-after": "7"}),
        "http-499": refusal(499, "request canceled"),
        "http-500": refusal(500, "the backtrace with /secret/paths"),
        "http-503": refusal(503, "server busy, please try again.  maximum pending requests exceeded"),
        "http-529": refusal(529, "overloaded"),
        "too-large": refusal(500, "model requires more system memory (44.0 GiB) than is available (7.6 GiB)"),
    }
