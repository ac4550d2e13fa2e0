"""What the driver `openai` does with the fields of a configuration."""

from typing import Any

from models_registry import limits
from models_registry.backends.options import DriverOptions

_SAMPLING = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "stop_sequences")
_DEFAULTS = {"temperature": 1.0, "max_tokens": 4096, "context_length": 128_000}


def _common(field: str, value: Any, model: str) -> str:
    if field in _SAMPLING and limits.rule(model).reasons:
        return f"{model} takes no {field}."
    return ""


def _official(field: str, value: Any, model: str) -> str:
    if field == "top_k":
        return "OpenAI takes no top_k."
    if field == "think" and not isinstance(value, str):
        return "OpenAI takes a level (low, medium, high) and no true or false."
    if field == "think" and value == "max":
        return "OpenAI knows no level max."
    if field == "think" and not limits.rule(model).reasons:
        return f"{model} does not think."
    return _common(field, value, model)


OFFICIAL = DriverOptions(defaults=_DEFAULTS, refusal=_official, stop_sequences=4)
COMPATIBLE = DriverOptions(defaults=_DEFAULTS, refusal=_common)
