"""From what a driver, a backend and an agent say to the one configuration that a call is made with.

The driver's defaults come first, the backend's own values over them, the agent's `model_config` over both. A field
that is unknown or of the wrong type is refused. A value outside its range is moved into it, and a value that cannot
be sent is left out; both give a warning: `{field, given, used, message}`, `used` being None for what is left out.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from maintenance.errors import Invalid
from models_registry import limits
from models_registry.backends.base import ModelConfig
from models_registry.backends.options import DriverOptions

THINK_LEVELS = ("low", "medium", "high", "max")
NAME_MAX_CHARACTERS = 255
ConfigWarning = dict[str, Any]
Values = dict[str, Any]


def _string(value: Any) -> Any:
    fits = isinstance(value, str) and 0 < len(value) <= NAME_MAX_CHARACTERS and value.isprintable()
    return value if fits else None


def _number(value: Any) -> Any:
    return value if _is_number(value) else None


def _integer(value: Any) -> Any:
    return int(value) if _is_number(value) and value == int(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _strings(value: Any) -> Any:
    fits = isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value)
    return tuple(value) if fits else None


def _think(value: Any) -> Any:
    return value if isinstance(value, bool) or value in THINK_LEVELS else None


_TYPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "model": (_string, f"Must be a name of 1 to {NAME_MAX_CHARACTERS} characters."),
    "temperature": (_number, "Must be a number."),
    "max_tokens": (_integer, "Must be a whole number."),
    "top_p": (_number, "Must be a number."),
    "top_k": (_integer, "Must be a whole number."),
    "context_length": (_integer, "Must be a whole number."),
    "frequency_penalty": (_number, "Must be a number."),
    "presence_penalty": (_number, "Must be a number."),
    "stop_sequences": (_strings, "Must be a list of texts that are not empty."),
    "seed": (_integer, "Must be a whole number."),
    "timeout": (_integer, "Must be a whole number of seconds."),
    "think": (_think, f"Must be true, false or one of {', '.join(THINK_LEVELS)}."),
}
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "max_tokens": (1, 1_000_000),
    "top_p": (0, 1),
    "top_k": (0, 1_000),
    "context_length": (256, 10_000_000),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "seed": (0, 2**31 - 1),
    "timeout": (1, 3_600),
}


def validate(model_config: Any) -> None:
    """Check names and types of an agent's `model_config`. Raises Invalid, its errors named `model_config.<field>`."""
    _checked(model_config)


def normalise(
    options: DriverOptions,
    backend: Mapping[str, Any],
    agent: Mapping[str, Any],
    *,
    context_length: int = 0,
    loaded: int = 0,
) -> tuple[ModelConfig, list[ConfigWarning]]:
    """The configuration for a call, and the warnings about it. Raises Invalid.

    `context_length`: the window in tokens that the server has for a call, 0 where it is not known. `loaded`: the one
    that the model is in memory with, which a call that wants none of its own takes, for another one loads it anew.
    """
    draft = _Draft(options.defaults, {**_checked(backend), **_checked(agent)})
    draft.leave_out(options.refusal)
    draft.move_into({**_RANGES, **options.ranges})
    draft.shorten_stops(options.stop_sequences)
    draft.fit_window(context_length, loaded)
    draft.part(options.conflict)
    return ModelConfig(**draft.values), draft.warnings


def _checked(given: Any) -> Values:
    """The fields that are set, each of its type."""
    if not isinstance(given, Mapping):
        raise _invalid({"model_config": ["Must be an object."]})
    errors: dict[str, list[str]] = {}
    values: Values = {}
    for name, value in given.items():
        if name not in _TYPES:
            errors[f"model_config.{name}"] = ["Unknown field."]
        elif value is not None:
            read, rule = _TYPES[name]
            values[name] = read(value)
            if values[name] is None:
                errors[f"model_config.{name}"] = [rule]
    if errors:
        raise _invalid(errors)
    return values


def _invalid(errors: Mapping[str, list[str]]) -> Invalid:
    return Invalid(" ".join(f"{name}: {texts[0]}" for name, texts in errors.items()), errors=errors)


class _Draft:
    """A configuration on its way; collects the warnings about what was chosen, not about defaults."""

    def __init__(self, defaults: Mapping[str, Any], chosen: Values) -> None:
        self.values: Values = {"model": "", **defaults, **chosen}
        self.warnings: list[ConfigWarning] = []
        self._chosen = chosen
        self._rule = limits.rule(self.values["model"])

    def leave_out(self, refusal: Callable[[str, Any, str], str]) -> None:
        model = self.values["model"]
        for name, given in list(self.values.items()):
            if reason := refusal(name, given, model):
                self._warn(name, None, reason)
                del self.values[name]

    def part(self, conflict: Callable[[str, Mapping[str, Any]], str]) -> None:
        for name in list(self.values):
            if reason := conflict(name, self.values):
                self._warn(name, None, reason)
                del self.values[name]

    def move_into(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        for name, (low, high) in ranges.items():
            if name in self.values:
                self._use(name, min(max(self.values[name], low), high), f"Must be from {low:g} to {high:g}.")

    def shorten_stops(self, most: int) -> None:
        if "stop_sequences" in self.values:
            self._use("stop_sequences", self.values["stop_sequences"][:most], f"At most {most} are sent.")

    def fit_window(self, server: int, loaded: int) -> None:
        """Keep the window within what there is, and the reply within the window."""
        values, rule = self.values, self._rule
        known = server or rule.context_length
        wanted = values["context_length"] if "context_length" in self._chosen else loaded or known
        window = min(wanted, known) if wanted and known else wanted
        self._use("context_length", window or values["context_length"], f"The model's window is {known} tokens.")
        if rule.max_tokens:
            most = min(values["max_tokens"], rule.max_tokens)
            self._use("max_tokens", most, f"The model writes at most {rule.max_tokens} tokens.")
        if values["max_tokens"] >= values["context_length"]:
            self._use("max_tokens", values["context_length"] // 2, "The reply must leave room for the messages.")

    def _use(self, name: str, used: Any, reason: str) -> None:
        if used != self.values[name]:
            self._warn(name, used, reason)
            self.values[name] = used

    def _warn(self, name: str, used: Any, reason: str) -> None:
        if name in self._chosen:
            given = self._chosen[name]
            self.warnings.append({"field": name, "given": _plain(given), "used": _plain(used), "message": reason})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
