"""Which backends there are, by name, and one of them made ready for a call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from maintenance.errors import Invalid
from models_registry import config
from models_registry.backends import fake, openai_options
from models_registry.backends.base import Backend, ModelConfig
from models_registry.backends.fake import FakeBackend
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.options import DriverOptions
from models_registry.backends.settings import BackendSettings
from models_registry.config import ConfigWarning
from models_registry.errors import BackendMisconfigured

EMBEDDED_MODEL = "smollm2-135m-instruct"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_DEFAULT_MODEL = "gpt-4o-mini"
ALIASES = {"claude": "anthropic"}
DRIVERS: dict[str, Callable[[BackendSettings], Backend]] = {"openai": OpenAIBackend, "fake": FakeBackend}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A backend and the configuration to call it with. `warnings` as in `config`; `name` is the configured one."""

    backend: Backend
    config: ModelConfig
    warnings: list[ConfigWarning]
    name: str


def configured() -> dict[str, BackendSettings]:
    """The backends that the environment names, by name; the first is the default unless a setting says otherwise."""
    found: list[BackendSettings] = []
    if settings.OPENAI_BASE_URL or settings.OPENAI_API_KEY:
        found.append(_openai())
    if settings.EMBEDDED_MODEL_URL:
        found.append(_embedded())
    if settings.FAKE_BACKEND:
        found.append(BackendSettings(name="fake", driver="fake", model="echo"))
    return {backend.name: backend for backend in found}


def _openai() -> BackendSettings:
    official = settings.OPENAI_BASE_URL.rstrip("/") in ("", OPENAI_URL)
    return BackendSettings(
        name="openai",
        driver="openai",
        base_url=settings.OPENAI_BASE_URL or OPENAI_URL,
        api_key=settings.OPENAI_API_KEY,
        model=settings.OPENAI_MODEL or (OPENAI_DEFAULT_MODEL if official else ""),
        context_length=settings.OPENAI_CONTEXT_TOKENS,
        extensions=not official,
    )


def _embedded() -> BackendSettings:
    # The model is small: cooler sampling keeps it to the point, and a short reply leaves room in its window.
    return BackendSettings(
        name="embedded",
        driver="openai",
        base_url=settings.EMBEDDED_MODEL_URL,
        model=EMBEDDED_MODEL,
        options={"temperature": 0.2, "top_p": 0.9, "max_tokens": 1024},
        context_length=settings.EMBEDDED_MODEL_CONTEXT_TOKENS,
        extensions=True,
        function_calling=False,
    )


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
    return DRIVERS[chosen.driver](chosen)


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
    return config.normalise(_options(chosen), own, model_config, context_length=chosen.context_length)


def _options(chosen: BackendSettings) -> DriverOptions:
    if chosen.driver == "fake":
        return fake.OPTIONS
    return openai_options.COMPATIBLE if chosen.extensions else openai_options.OFFICIAL


def _canonical(name: str) -> str:
    return ALIASES.get(name, name)


def _choices(known: Mapping[str, BackendSettings]) -> str:
    return f"Configured: {', '.join(known) or 'none'}."
