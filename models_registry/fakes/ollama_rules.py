"""What an Ollama server refuses of a chat request."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_INTEGERS = ("num_ctx", "num_predict", "top_k", "seed")
Fault = tuple[int, str]


def broken(body: Mapping[str, Any], *, thinks: bool) -> Fault | None:
    """The status and the words for the first thing that is wrong. `thinks`: the model can think."""
    return next(_faults(body, thinks), None)


def _faults(body: Mapping[str, Any], thinks: bool) -> Iterator[Fault]:
    for message in body.get("messages", []):
        yield from _message_faults(message)
    keep_alive = body.get("keep_alive")
    if isinstance(keep_alive, str) and re.fullmatch(r"-?\d*", keep_alive):
        yield 400, f'time: missing unit in duration "{keep_alive}"'
    if body.get("think") and not thinks:
        yield 400, f'"{body["model"]}" does not support thinking'
    yield from _option_faults(body.get("options", {}))


def _message_faults(message: Mapping[str, Any]) -> Iterator[Fault]:
    if not isinstance(message.get("content"), str):
        yield 400, "json: cannot unmarshal into Go struct field ChatRequest.messages.content of type string"
    for call in message.get("tool_calls", []):
        if not isinstance(call["function"]["arguments"], dict):
            yield 400, "Value looks like object, but can't find closing '}' symbol"
    for image in message.get("images", []):
        try:
            base64.b64decode(image, validate=True)
        except binascii.Error:
            yield 400, "illegal base64 data at input byte 4"


def _option_faults(options: Mapping[str, Any]) -> Iterator[Fault]:
    for name in _NUMBERS:
        if not isinstance(options.get(name, 0.0), int | float):
            yield 500, f'option "{name}" must be of type float32'
    for name in _INTEGERS:
        if not isinstance(options.get(name, 0), int):
            yield 500, f'option "{name}" must be of type integer'
