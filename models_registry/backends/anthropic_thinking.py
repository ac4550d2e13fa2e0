"""How a model is asked to think: its kind decides between a budget in tokens and a level of effort."""

from typing import Any

from models_registry import limits
from models_registry.backends.base import ModelConfig
from models_registry.limits import Thinking

MAX_TOKENS = 4096  # of a reply with its thinking, where nothing is configured: the provider demands a limit
LEAST_BUDGET = 1024
_SHARES = {"low": 0.25, "medium": 0.5, "high": 0.75, "max": 0.9}  # of the tokens of the reply
_DEFAULT_SHARE = _SHARES["medium"]
Body = dict[str, Any]


def is_on(think: Any) -> bool:
    """Whether a configuration asks for thinking."""
    return think is not None and think is not False


def is_bound(model: str) -> bool:
    """Whether the model refuses thinking that comes back after another prompt than the one it came from."""
    return limits.rule(model).thinking in (Thinking.UNLESS_DISABLED, Thinking.ALWAYS)


def thinking(config: ModelConfig) -> Body:
    """The field `thinking`, or nothing where the provider's default is what is wanted."""
    kind = limits.rule(config.model).thinking
    if not is_on(config.think):
        switched_off = config.think is False and kind is Thinking.UNLESS_DISABLED
        return {"thinking": {"type": "disabled"}} if switched_off else {}
    if kind is Thinking.BUDGET:
        return _budget(config)
    # Without `display`, newer models think in silence.
    return {"thinking": {"type": "adaptive", "display": "summarized"}}


def _budget(config: ModelConfig) -> Body:
    most = config.max_tokens or MAX_TOKENS
    if most <= LEAST_BUDGET:
        return {}
    share = _SHARES.get(str(config.think), _DEFAULT_SHARE)
    return {"thinking": {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, int(most * share))}}


def effort(config: ModelConfig) -> Body:
    """The field `effort` of `output_config`, for models that take a level."""
    adaptive = limits.rule(config.model).thinking is not Thinking.BUDGET
    return {"effort": config.think} if isinstance(config.think, str) and adaptive else {}
