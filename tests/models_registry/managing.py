"""A driver that manages models kept in memory, for what is done to models whatever server they are on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from models_registry import drivers, errors
from models_registry.backends.base import Capabilities, Health, ModelDetails
from models_registry.backends.settings import BackendSettings


@dataclass
class Shelf:
    """The models of the server, and what it was asked. `error` is raised by whatever is asked next.

    `broken` is what is raised when one of its models is asked about.
    """

    models: dict[str, ModelDetails] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    error: errors.BackendError | None = None
    broken: dict[str, errors.BackendError] = field(default_factory=dict)

    def put(self, name: str, digest: str = "d1", **values: object) -> None:
        self.models[name] = replace(ModelDetails(name=name, digest=digest), **values)  # type: ignore[arg-type]


class ManagedBackend:
    """What the list tells is short; `show` tells the window and what a model can do."""

    driver = "managed"
    capabilities = Capabilities(model_management=True)

    def __init__(self, configured: BackendSettings, shelf: Shelf) -> None:
        self.name = configured.name
        self._shelf = shelf

    def models(self) -> Sequence[ModelDetails]:
        self._note("models")
        short = {"context_length": 0, "capabilities": None}
        return [replace(model, **short) for model in self._shelf.models.values()]  # type: ignore[arg-type]

    def show(self, model: str) -> ModelDetails:
        self._note(f"show {model}")
        if model in self._shelf.broken:
            raise self._shelf.broken[model]
        return self._found(model)

    def delete(self, model: str) -> None:
        self._note(f"delete {model}")
        self._found(model)
        del self._shelf.models[model]

    def unload(self, model: str) -> None:
        self._note(f"unload {model}")
        self._found(model)

    def canonical(self, model: str) -> str:
        return model if ":" in model else f"{model}:latest"

    def health(self) -> Health:
        return Health(status="available", models=[*self._shelf.models])

    def _found(self, model: str) -> ModelDetails:
        if model not in self._shelf.models:
            raise errors.ModelNotFound(f"{self.name} does not have the model {model!r}.")
        return self._shelf.models[model]

    def _note(self, what: str) -> None:
        self._shelf.asked.append(what)
        if self._shelf.error:
            raise self._shelf.error


@contextmanager
def managed(patch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """The driver `fake` manages models for a while; so the backend `fake` has those of the shelf."""
    shelf = Shelf()
    patch.setitem(drivers.DRIVERS, "fake", lambda configured: ManagedBackend(configured, shelf))
    yield shelf
