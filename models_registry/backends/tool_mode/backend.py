"""A backend whose tools go by way of a schema; around any driver that honours `response_schema`."""

from collections.abc import Sequence
from dataclasses import replace

from models_registry.backends.base import (
    Backend,
    Cancellation,
    ChatRequest,
    DeltaType,
    FinishReason,
    Health,
    ModelDetails,
    OnDelta,
    Reply,
)
from models_registry.backends.tool_mode import prompt, schema
from models_registry.backends.tool_mode.answer import Reading
from models_registry.errors import BadRequest


class SchemaToolBackend:
    """Offers tools by a schema and turns replies back into calls or text. Without tools in the request it adds nothing.

    A reply holds one call at most.
    """

    def __init__(self, inner: Backend) -> None:
        self.name = inner.name
        self.driver = inner.driver
        self.capabilities = replace(inner.capabilities, function_calling=True)
        self.inner = inner

    def stream(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        if not request.tools:
            return self.inner.stream(replace(request, messages=prompt.retold(request.messages)), on_delta, cancellation)
        if request.response_schema is not None:
            raise BadRequest(f"{self.name} cannot offer tools and hold the answer to a schema at once.")
        reading = Reading(f"call_{len(request.messages)}")

        def listen(kind: DeltaType, text: str) -> None:
            if kind is not DeltaType.CONTENT:
                on_delta(kind, text)
                return
            for piece in reading.feed(text):
                on_delta(DeltaType.CONTENT, piece)

        reply = self.inner.stream(_constrained(request), listen, cancellation)
        for piece in reading.finish():
            on_delta(DeltaType.CONTENT, piece)
        return _read(reply, reading)

    def health(self) -> Health:
        return self.inner.health()

    def models(self) -> Sequence[ModelDetails]:
        return self.inner.models()


def _constrained(request: ChatRequest) -> ChatRequest:
    instructions = prompt.instructions(request.tools, answer_allowed=request.answer_allowed)
    return replace(
        request,
        messages=prompt.with_instructions(prompt.as_json(request.messages), instructions),
        tools=(),
        response_schema=schema.of_reply(request.tools, answer_allowed=request.answer_allowed),
    )


def _read(reply: Reply, reading: Reading) -> Reply:
    """The reply as what it means. One that was cut off, by the server or by its own limit, holds no call."""
    said = replace(reply, content=reading.text)
    if not reply.whole or reply.finish_reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER):
        return said
    if not reading.complete:
        return replace(said, whole=False, finish_reason=None)
    calls = [reading.call] if reading.call else []
    return replace(said, tool_calls=calls, finish_reason=FinishReason.TOOL_CALLS if calls else FinishReason.STOP)
