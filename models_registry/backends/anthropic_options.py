"""What the driver `anthropic` does with the fields of a configuration."""

from collections.abc import Mapping
from typing import Any

from models_registry import limits
from models_registry.backends import anthropic_thinking
from models_registry.backends.options import DriverOptions
from models_registry.limits import Thinking

_UNKNOWN = ("frequency_penalty", "presence_penalty", "seed")
_SAMPLING = ("temperature", "top_p", "top_k")
_LEAST_TOP_P = 0.95  # of a model that thinks


def _refusal(field: str, value: Any, model: str) -> str:
    rule = limits.rule(model)
    if field in _UNKNOWN:
        return f"Anthropic takes no {field}."
    if field in _SAMPLING and not rule.sampling:
        return f"{model} takes no {field}."
    if field == "stop_sequences" and not all(text.strip() for text in value):
        return "Anthropic takes no stop sequence of blanks alone."
    return _no_thinking(value, model, rule.thinking) if field == "think" else ""


def _no_thinking(think: Any, model: str, kind: Thinking) -> str:
    if think is False:
        return f"{model} always thinks." if kind is Thinking.ALWAYS else ""
    return f"{model} does not think." if kind is Thinking.NEVER else ""


def _conflict(field: str, values: Mapping[str, Any]) -> str:
    if field == "think" and not _has_room(values):
        return f"To think, a model needs more than {anthropic_thinking.LEAST_BUDGET} max_tokens."
    if field == "temperature" and "top_p" in values:
        return "Anthropic takes either temperature or top_p."
    thinks = anthropic_thinking.is_on(values.get("think"))
    return _beside_thinking(field, values) if thinks and field in _SAMPLING else ""


def _has_room(values: Mapping[str, Any]) -> bool:
    with_budget = limits.rule(values["model"]).thinking is Thinking.BUDGET
    enough = values["max_tokens"] > anthropic_thinking.LEAST_BUDGET
    return enough or not (with_budget and anthropic_thinking.is_on(values["think"]))


def _beside_thinking(field: str, values: Mapping[str, Any]) -> str:
    allowed = {"temperature": values[field] == 1, "top_p": values[field] >= _LEAST_TOP_P, "top_k": False}
    return "" if allowed[field] else f"A model that thinks takes no {field} of {values[field]:g}."


OPTIONS = DriverOptions(
    defaults={"temperature": 1.0, "max_tokens": anthropic_thinking.MAX_TOKENS, "context_length": 200_000},
    refusal=_refusal,
    conflict=_conflict,
    ranges={"temperature": (0, 1), "top_k": (0, 500)},
)
