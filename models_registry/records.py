"""The backends that operators added, as settings to call them with, and what is stored of a model.

Nothing is cached here. A turn asks one statement, which finds a backend and the window of its model by indexes;
a cache would have to ask the database whether it still holds, which costs as much. So a key that is changed, or a
backend that is disabled, counts for the next turn in every process. Whoever looks at many agents at once says so by
`remembering`.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Case, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Concat, Lower

from maintenance import encryption
from models_registry.backends import ollama_names
from models_registry.backends.settings import BackendSettings
from models_registry.environment import OPENAI_URL
from models_registry.models import BackendRecord, Driver, Model

# Where a driver's server is, unless it is said.
BASE_URLS: Mapping[str, str] = {
    Driver.OLLAMA: "http://127.0.0.1:11434",
    Driver.OPENAI: OPENAI_URL,
    Driver.ANTHROPIC: "https://api.anthropic.com",
    Driver.FAKE: "",
}
TOOLS, VISION = "tools", "vision"  # among a model's capabilities
LATEST = ":latest"  # what a name without a tag means to Ollama
T = TypeVar("T")
_remembered: ContextVar[dict[Hashable, Any] | None] = ContextVar("remembered", default=None)


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is stored of a model's window, in tokens: its own maximum, and that which it is loaded with. 0: unknown.

    And whether it can call tools, and takes images; None: unknown.
    """

    most: int = 0
    loaded: int = 0
    calls_tools: bool | None = None
    sees: bool | None = None


@contextmanager
def remembering() -> Iterator[None]:
    """Inside, what was asked of a backend or a model is not asked again: many agents share a few of them."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def _once(key: Hashable, ask: Callable[[], T]) -> T:
    remembered = _remembered.get()
    if remembered is None:
        return ask()
    if key not in remembered:
        remembered[key] = ask()
    found: T = remembered[key]
    return found


def enabled() -> dict[str, BackendSettings]:
    """By name. One query."""
    return {record.name: settings_of(record) for record in BackendRecord.objects.filter(enabled=True)}


def find(name: str, model: str = "") -> tuple[BackendSettings, Window] | None:
    """An enabled backend, and the window of this model of it, or of its default model. One query.

    Without a name it is the first one.
    """
    return _once(("find", name, model), lambda: _find(name, model))


def _find(name: str, model: str) -> tuple[BackendSettings, Window] | None:
    found = named(OuterRef("name"), model) if model else _default()
    backends = BackendRecord.objects.filter(enabled=True)
    record = (
        (backends.filter(name=name) if name else backends)
        .annotate(most=Subquery(found.values("context_length")[:1]))
        .annotate(loaded=Subquery(found.values("loaded_context_length")[:1]))
        .annotate(can=Subquery(found.values("capabilities")[:1]))
        .first()
    )
    return (settings_of(record), _window(record.most, record.loaded, record.can)) if record else None


def window(backend: str, model: str) -> Window:
    """The window of a model of a backend. One query."""
    found = known(backend, model)
    return _window(found.context_length, found.loaded_context_length, found.capabilities) if found else Window()


def known(backend: str, model: str) -> Model | None:
    """What is stored of the model that a name means, the exact one first. One query."""
    return _once(("known", backend, model), lambda: named(backend, model).first())


def is_synced(backend: str) -> bool:
    """Whether anything is stored of the backend's models. One query."""
    return _once(("synced", backend), lambda: Model.objects.filter(backend=backend).exists())


def _window(most: int | None, loaded: int | None, capabilities: Sequence[str] | None) -> Window:
    if capabilities is None:
        return Window(most=most or 0, loaded=loaded or 0)
    calls_tools, sees = TOOLS in capabilities, VISION in capabilities
    return Window(most=most or 0, loaded=loaded or 0, calls_tools=calls_tools, sees=sees)


def named(backend: str | OuterRef, model: str) -> QuerySet[Model]:
    """The rows that a model's name may mean, the exact one first. Ollama adds a tag, and does not mind the case."""
    same = Q(name=model) | Q(lowered=ollama_names.canonical(model).lower())
    return _of(backend).filter(same).order_by(Case(When(name=model, then=0), default=1), "name")


def is_meant(listed: str, model: str) -> bool:
    """Whether a backend that lists a model under one name knows it by the other one too."""
    return listed == model or listed.lower() == ollama_names.canonical(model).lower()


def _default() -> QuerySet[Model]:
    """Likewise those of a backend's default model, inside a query of backends."""
    exact = OuterRef("model")
    same = Q(name=exact) | Q(lowered__in=[Lower(exact), Lower(Concat(exact, Value(LATEST)))])
    return _of(OuterRef("name")).filter(same).order_by("name")


def _of(backend: str | OuterRef) -> QuerySet[Model]:
    return Model.objects.filter(backend=backend).alias(lowered=Lower("name"))


def settings_of(record: BackendRecord) -> BackendSettings:
    """A backend that cannot be used has a `fault`: nothing here raises."""
    key, fault = _key(record)
    base_url = record.base_url or BASE_URLS[record.driver]
    return BackendSettings(
        name=record.name,
        driver=record.driver,
        base_url=base_url,
        api_key=key,
        model=record.model,
        options=record.options,
        context_length=record.context_length,
        extensions=record.driver == Driver.OPENAI and base_url.rstrip("/") != OPENAI_URL,
        fault=fault,
    )


def _key(record: BackendRecord) -> tuple[str, str]:
    try:
        return encryption.decrypt(record.encrypted_key), ""
    except encryption.Unreadable:
        return "", (
            f"The stored key of {record.name} cannot be read, for SECRET_KEY has changed since. Enter the key again in "
            "the console, or name the old SECRET_KEY in SECRET_KEY_FALLBACKS."
        )
