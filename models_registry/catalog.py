"""Which backends there are, by name, and one of them made ready for a call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from maintenance.errors import Invalid
from models_registry import config, drivers, environment
from models_registry.backends.base import Backend, ModelConfig
from models_registry.backends.settings import BackendSettings
from models_registry.config import ConfigWarning
from models_registry.errors import BackendMisconfigured

ALIASES = {"claude": "anthropic"}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A backend and the configuration to call it with. `warnings` as in `config`; `name` is the configured one."""

    backend: Backend
    config: ModelConfig
    warnings: list[ConfigWarning]
    name: str


def configured() -> dict[str, BackendSettings]:
    """The backends there are, by name; the first is the default unless a setting says otherwise."""
    return environment.backends()


def default_name() -> str:
    """The backend for agents that name none; empty where none is configured."""
    return _canonical(settings.DEFAULT_BACKEND) or next(iter(configured()), "")


def check_name(name: str) -> None:
    """Raise Invalid unless an agent may use this backend; an empty name stands for the default one."""
    known = configured()
    if name and _canonical(name) not in known:
        message = f"There is no backend {name!r}. {_choices(known)}"
        raise Invalid(message, errors={"ai_backend": [message]})


def find(name: str) -> BackendSettings | None:
    """The backend of this name or alias."""
    return configured().get(_canonical(name))


def backend(chosen: BackendSettings) -> Backend:
    return drivers.backend(chosen)


def resolve(name: str, model_config: Mapping[str, Any]) -> Resolved:
    """The backend `name`, or the default one where it is empty, and the normalised configuration.

    Raises BackendMisconfigured for a backend that is not configured and for a configuration that cannot be used.
    """
    known = configured()
    chosen = known.get(_canonical(name) or default_name())
    if chosen is None:
        raise BackendMisconfigured(f"The backend {name or default_name()!r} is not configured. {_choices(known)}")
    if not chosen.api_key.isascii():
        raise BackendMisconfigured(f"The key of {chosen.name} holds characters that no key has.")
    try:
        normalised, warnings = _normalise(chosen, model_config)
    except Invalid as error:
        raise BackendMisconfigured(f"The agent's model configuration is not valid. {error.message}") from error
    if not normalised.model:
        raise BackendMisconfigured(f"{chosen.name} has no default model: set OPENAI_MODEL or the agent's model.")
    return Resolved(backend=backend(chosen), config=normalised, warnings=warnings, name=chosen.name)


def _normalise(chosen: BackendSettings, model_config: Mapping[str, Any]) -> tuple[ModelConfig, list[ConfigWarning]]:
    own = {**chosen.options, "model": chosen.model or None}
    return config.normalise(drivers.options(chosen), own, model_config, context_length=chosen.context_length)


def _canonical(name: str) -> str:
    return ALIASES.get(name, name)


def _choices(known: Mapping[str, BackendSettings]) -> str:
    return f"Configured: {', '.join(known) or 'none'}."
