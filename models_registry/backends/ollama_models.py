"""From what `/api/tags`, `/api/show` and `/api/ps` answer to `ModelDetails`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from models_registry.backends import ollama_names
from models_registry.backends.base import ModelDetails
from models_registry.backends.texts import clean
from models_registry.backends.values import count, mapping, objects, text

Values = Mapping[str, Any]


def listed(answer: Values) -> list[Values]:
    """The models that a list names."""
    return [model for model in objects(answer.get("models")) if name(model)]


def name(model: Values) -> str:
    return _clean(model.get("name")) or _clean(model.get("model"))


def details(model: Values, shown: Values, loaded: Sequence[Values]) -> ModelDetails:
    """What the list, the answer about this model and the list of those in memory tell together."""
    called = name(model)
    about = {**mapping(shown.get("details")), **mapping(model.get("details"))}
    running = next((one for one in loaded if ollama_names.same(name(one), called)), None)
    capabilities = _capabilities(shown)
    return ModelDetails(
        name=called,
        size_bytes=count(model.get("size")),
        family=_clean(about.get("family")),
        parameter_size=_clean(about.get("parameter_size")),
        quantisation=_clean(about.get("quantization_level")),
        context_length=context_length(shown) or count(about.get("context_length")),
        loaded_context_length=loaded_window(running) if running else 0,
        capabilities=_capabilities(model) if capabilities is None else capabilities,
        digest=_clean(model.get("digest")),
        loaded=running is not None,
        modified_at=_time(model.get("modified_at")) or _time(shown.get("modified_at")),
    )


def context_length(shown: Values) -> int:
    """The model's own maximum, in tokens, 0 where it is not told."""
    info = mapping(shown.get("model_info"))
    return count(info.get(f"{info.get('general.architecture')}.context_length"))


def loaded_window(running: Values) -> int:
    """Tokens of the window that a model in memory was loaded with, 0 where it is not told."""
    return count(running.get("context_length"))


def _capabilities(answer: Values) -> Sequence[str] | None:
    given = answer.get("capabilities")
    return [clean(item) for item in given if isinstance(item, str)] if isinstance(given, list) else None


def _time(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(_clean(value))
    except ValueError:
        return None
    return at if at.tzinfo and at.year > 1 else None  # the year 1 is its way to say never


def _clean(value: Any) -> str:
    return clean(text(value))
