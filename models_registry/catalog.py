"""Which backends there are, by name, and one of them made ready for a call."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from django.conf import settings

from maintenance.errors import Invalid, Refusal
from models_registry import config, drivers, environment, records
from models_registry.backends.base import Backend, Capabilities, Health, ModelConfig, ModelManager
from models_registry.backends.settings import BackendSettings
from models_registry.backends.tool_mode import SchemaToolBackend
from models_registry.config import ConfigWarning
from models_registry.errors import BackendMisconfigured
from models_registry.records import Window

NATIVE = "native"
JSON_SCHEMA = "json_schema"
ALIASES = {"claude": "anthropic"}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A backend and the configuration to call it with. `warnings` as in `config`; `name` is the configured one.

    `tool_mode`, native or json_schema, is how the backend offers tools. `vision`: the model is not known to take no
    images. `manager` is there where it manages its models.
    """

    backend: Backend
    config: ModelConfig
    warnings: list[ConfigWarning]
    name: str
    tool_mode: str
    vision: bool
    manager: ModelManager | None = None


def configured() -> dict[str, BackendSettings]:
    """The backends there are, by name: those of the environment, then the enabled ones that operators added.

    A name of the environment wins. The first is the default unless a setting says otherwise. One query.
    """
    return _joined(records.enabled())


def _joined(added: Mapping[str, BackendSettings]) -> dict[str, BackendSettings]:
    named = environment.backends()
    return {**named, **{name: backend for name, backend in added.items() if name not in named}}


def default_name() -> str:
    """The backend for agents that name none; empty where none is configured."""
    return _named_default() or next(iter(records.enabled()), "")


def _named_default() -> str:
    return canonical(settings.DEFAULT_BACKEND) or next(iter(environment.backends()), "")


def check_name(name: str) -> None:
    """Raise Invalid unless an agent may use this backend; an empty name stands for the default one."""
    if name and find(name) is None:
        message = f"There is no backend {name!r}. {_choices()}"
        raise Invalid(message, errors={"ai_backend": [message]})


def find(name: str) -> BackendSettings | None:
    """The backend of this name or alias. At most one query."""
    chosen, _window = _find(name, "") if name else (None, Window())
    return chosen


def known(name: str) -> BackendSettings:
    """The backend of this name or alias. Raises Refusal, 404."""
    chosen = find(name)
    if chosen is None:
        raise Refusal(f"There is no backend {name!r}.", code="not_found", status_code=404)
    return chosen


def backend(chosen: BackendSettings) -> Backend:
    """Ready to be called. Raises BackendMisconfigured for one that cannot be."""
    if chosen.fault:
        raise BackendMisconfigured(chosen.fault)
    return drivers.backend(chosen)


def capabilities(chosen: BackendSettings) -> Capabilities:
    """What it can do, be it by a detour. Of one that is misconfigured too."""
    can = drivers.backend(chosen).capabilities
    return replace(can, function_calling=can.function_calling or chosen.tool_mode == JSON_SCHEMA)


def probe(chosen: BackendSettings) -> Health:
    """Ask the server how it is, with short limits. Never raises."""
    if chosen.fault:
        return Health(status="misconfigured", error=chosen.fault)
    return drivers.backend(chosen).health()


def manager(name: str) -> ModelManager:
    """The backend, where it can pull, delete and unload models.

    Raises Refusal: 404 for an unknown name, 400 where the driver does not manage models, 409 where it is misconfigured.
    """
    chosen = known(name)
    if not drivers.backend(chosen).capabilities.model_management:
        message = f"{chosen.name} does not manage its models: that is done where the server runs."
        raise Refusal(message, code="no_model_management", status_code=400)
    if chosen.fault:
        raise Refusal(chosen.fault, code=BackendMisconfigured.code)
    return cast(ModelManager, backend(chosen))


def resolve(name: str, model_config: Mapping[str, Any], tool_mode: str = "") -> Resolved:
    """The backend `name`, or the default one where it is empty, and the normalised configuration. At most one query.

    `tool_mode` is how it is to offer tools: native, json_schema, or anything else for what backend and model do best.
    Raises BackendMisconfigured for a backend that is not configured and for a configuration that cannot be used.
    """
    model = model_config.get("model") or ""
    chosen, window = _find(name or _named_default(), model if isinstance(model, str) else "")
    if chosen is None:
        raise BackendMisconfigured(f"The backend {name or default_name()!r} is not configured. {_choices()}")
    if not chosen.api_key.isascii():
        raise BackendMisconfigured(f"The key of {chosen.name} holds characters that no key has.")
    try:
        normalised, warnings = _normalise(chosen, model_config, window)
    except Invalid as error:
        raise BackendMisconfigured(f"The agent's model configuration is not valid. {error.message}") from error
    if not normalised.model:
        raise BackendMisconfigured(f"{chosen.name} has no default model: give it one, or name the agent's model.")
    mode = tool_mode if tool_mode in (NATIVE, JSON_SCHEMA) else _tool_mode(chosen, window)
    driven = backend(chosen)
    return Resolved(
        backend=SchemaToolBackend(driven) if mode == JSON_SCHEMA else driven,
        config=normalised,
        warnings=warnings,
        name=chosen.name,
        tool_mode=mode,
        vision=driven.capabilities.vision and window.sees is not False,
        manager=cast(ModelManager, driven) if driven.capabilities.model_management else None,
    )


def _tool_mode(chosen: BackendSettings, window: Window) -> str:
    return JSON_SCHEMA if window.calls_tools is False else chosen.tool_mode


def _find(name: str, model: str) -> tuple[BackendSettings | None, Window]:
    """The backend, and what is stored of the window of this model of it, or of its default one."""
    named = environment.backends().get(canonical(name))
    if named is None:
        return records.find(canonical(name), model) or (None, Window())
    asked = model or named.model
    return named, Window() if named.context_length or not asked else records.window(named.name, asked)


def _normalise(
    chosen: BackendSettings, model_config: Mapping[str, Any], window: Window
) -> tuple[ModelConfig, list[ConfigWarning]]:
    own = {**chosen.options, "model": chosen.model or None}
    known = chosen.context_length or window.most
    return config.normalise(drivers.options(chosen), own, model_config, context_length=known, loaded=window.loaded)


def canonical(name: str) -> str:
    """The name that an alias stands for; every other name is its own."""
    return ALIASES.get(name, name)


def _choices() -> str:
    return f"Configured: {', '.join(configured()) or 'none'}."
