"""What cases are made of."""

from collections.abc import Callable
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends.base import (
    Cancellation,
    ChatRequest,
    DeltaType,
    Reply,
    RequestedCall,
    ToolSchema,
)
from tests.models_registry.conftest import Listener
from tests.models_registry.contract.wire import Wire

PROMPTLY = 5.0  # seconds; a second is promised
SHORT = 0.15  # seconds: a limit that is meant to be over
CONTENT, THINKING = DeltaType.CONTENT, DeltaType.THINKING
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [ToolSchema(name=name, description="Does it.", parameters=OBJECT) for name in ("f", "g")]
Case = Callable[[Wire], None]
REGISTERED: list[Case] = []


def case(function: Case) -> Case:
    REGISTERED.append(function)
    return function


def ask(wire: Wire, request: ChatRequest) -> tuple[Reply, Listener]:
    heard = Listener()
    return wire.backend().stream(request, heard, Cancellation()), heard


def failure(wire: Wire, request: ChatRequest) -> tuple[errors.BackendError, Listener]:
    heard = Listener()
    with pytest.raises(errors.BackendError) as raised:
        wire.backend().stream(request, heard, Cancellation())
    return raised.value, heard


def so(wire: Wire) -> list[Any]:
    """A reply that has begun."""
    return [*wire.dialect.begin(), *wire.dialect.say("So ")]


def call(call_id: str, name: str, **arguments: Any) -> RequestedCall:
    return RequestedCall(provider_id=call_id, name=name, arguments=arguments)
