"""The sandbox that system prompts are rendered in: Jinja2's, without the steps that can eat all memory at once."""

from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

BIG_NUMBER = 10**6
BIG_TEXT = 1_000_000
# Methods of str that make a text of any length out of a number, or multiply lengths.
GREEDY_METHODS = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "replace", "translate"})
GREEDY_FILTERS = ("center", "indent", "wordwrap")


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if len(text) + str(text).count(old) * len(new) > BIG_TEXT:
        raise SecurityError("replace would make too long a text")
    return str(text).replace(old, new, count)


class Sandbox(ImmutableSandboxedEnvironment):
    """No attribute that leads out, no mutation, no undefined variable, no giant value."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False)
        self.globals.pop("lipsum", None)
        for name in GREEDY_FILTERS:
            self.filters.pop(name, None)
        self.filters["replace"] = _replace

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        for value in (left, right):
            if not isinstance(value, (int, float)) or abs(value) > BIG_NUMBER:
                raise SecurityError(f"the operator {operator} is for numbers up to {BIG_NUMBER} only")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in GREEDY_METHODS and super().is_safe_attribute(obj, attr, value)
