"""A warehouse that backends pull from, as the backend `ollama`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from maintenance.http import UserThrottle
from models_registry import drivers
from models_registry.models import Pull
from tests.models_registry.downloads import ScriptedBackend, Warehouse

PULLS = "/api/v1/ai-backends/ollama/models/pull"


@pytest.fixture
def warehouse(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    UserThrottle.counter.clear()
    warehouse = Warehouse()
    settings.OLLAMA_BASE_URL = "http://127.0.0.1:9"
    monkeypatch.setitem(drivers.DRIVERS, "ollama", partial(ScriptedBackend, warehouse=warehouse))
    return warehouse


Fresh = Callable[[Pull], Pull]


def fresh(pull: Pull) -> Pull:
    """As it is in the database."""
    return Pull.objects.get(pk=pull.pk)
