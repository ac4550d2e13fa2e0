"""The drivers, each with what answers it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.models_registry.contract.anthropic_dialect import AnthropicDialect
from tests.models_registry.contract.ollama_dialect import OllamaDialect
from tests.models_registry.contract.openai_dialect import OpenAIDialect
from tests.models_registry.contract.over_http import HttpWire
from tests.models_registry.contract.scripted import ScriptedWire

DIALECTS: dict[str, Callable[[], Any]] = {
    "ollama": OllamaDialect,
    "openai": OpenAIDialect,
    "anthropic": AnthropicDialect,
}
DRIVERS = (*DIALECTS, "fake")


@pytest.fixture(scope="session")
def wires() -> Iterator[dict[str, Any]]:
    """Every driver by its name."""
    with ExitStack() as servers:
        made: dict[str, Any] = {"fake": ScriptedWire()}
        for name, dialect in DIALECTS.items():
            made[name] = HttpWire(dialect())
            servers.enter_context(made[name].dialect.server)
        yield made


@pytest.fixture
def wire(request: pytest.FixtureRequest, wires: dict[str, Any]) -> Any:
    """The driver that the test is about."""
    return wires[request.param]
