"""What is said to a backend and what comes back, as plain values, and the protocol every driver fulfils.

A driver turns a `ChatRequest` into its provider's request, calls `on_delta` for each piece as it arrives, and
returns the whole `Reply`. It raises only `models_registry.errors`. It stores nothing.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class DeltaType(StrEnum):
    CONTENT = "content"
    THINKING = "thinking"


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, kw_only=True)
class RequestedCall:
    """A tool call as the model asked for it.

    `provider_id` is the provider's own id, possibly empty or repeated. `arguments` is None where what came was not
    a JSON object; `raw_arguments` then holds what came, and such a call must never be run.
    """

    provider_id: str
    name: str
    arguments: Mapping[str, Any] | None
    raw_arguments: str = ""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A picture that goes with a message: its MIME type and its bytes in standard base64, without a data URL's head."""

    media_type: str
    data_base64: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ChatMessage:
    """One message of the history. A `tool` message answers `tool_call_id` and carries the tool's `name`."""

    role: str
    content: str = ""
    images: Sequence[Image] = ()
    thinking: str = ""
    name: str = ""
    tool_call_id: str = ""
    tool_calls: Sequence[RequestedCall] = ()
    provider_data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ToolSchema:
    """A tool that is offered; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Normalised configuration. None means: not sent, the provider's own default holds."""

    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    context_length: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop_sequences: Sequence[str] = ()
    seed: int | None = None
    timeout: int | None = None
    think: bool | str | None = None


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Limits of one call, in seconds."""

    connect: float
    first_byte: float
    idle: float
    total: float


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """`response_schema`, a JSON Schema, constrains the reply's text where the driver can.

    Where tools go by a schema, see `tool_mode`, `answer_allowed` False leaves the model nothing but to call one.
    """

    messages: Sequence[ChatMessage]
    config: ModelConfig
    timeouts: Timeouts
    tools: Sequence[ToolSchema] = ()
    response_schema: Mapping[str, Any] | None = None
    answer_allowed: bool = True


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one call. `estimated` where the backend did not tell and we counted ourselves."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model said. `whole` is False where the stream ended without the provider's end marker.

    `content` is exactly the concatenation of the content deltas, unstripped.
    """

    content: str = ""
    thinking: str = ""
    tool_calls: Sequence[RequestedCall] = ()
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    whole: bool = True
    model: str = ""
    provider_data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend's driver can do with its server."""

    streaming: bool = True
    function_calling: bool = False
    vision: bool = False
    model_management: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelDetails:
    """What a server tells of one of its models. Zero, empty and None mean: it does not tell.

    `context_length` is the model's own maximum in tokens, `loaded_context_length` that of the window it is loaded
    with; `capabilities` such as completion, tools, vision, thinking.
    """

    name: str
    size_bytes: int = 0
    family: str = ""
    parameter_size: str = ""
    quantisation: str = ""
    context_length: int = 0
    loaded_context_length: int = 0
    capabilities: Sequence[str] | None = None
    digest: str = ""
    loaded: bool | None = None
    modified_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class PullProgress:
    """One thing that a server says while it pulls. `digest` and the bytes are there for a layer on its way."""

    phase: str
    digest: str = ""
    total: int | None = None
    completed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Health:
    """Answer of a short probe. `status` is available, unreachable or misconfigured."""

    status: str
    error: str = ""
    models: Sequence[str] = ()


class Cancellation:
    """Lets one thread end a call that another one is blocked in.

    A driver registers what closes its connection with `on_cancel`; `cancel` calls it, once, from the other thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callback: Callable[[], None] | None = None
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def on_cancel(self, callback: Callable[[], None] | None) -> None:
        """Register what ends the call, or None when it is over. Called at once if already cancelled."""
        with self._lock:
            self._callback = callback
            late = self._cancelled
        if late and callback:
            callback()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            callback, self._callback = self._callback, None
        if callback:
            callback()


OnDelta = Callable[[DeltaType, str], None]
OnProgress = Callable[[PullProgress], None]


class Backend(Protocol):
    """A configured provider, ready to be called."""

    name: str
    driver: str
    capabilities: Capabilities

    def stream(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        """Make one model call. `on_delta` runs in this thread, for every piece of text, in order.

        Raises BackendError, or Cancelled where `cancellation` was used.
        """
        ...

    def health(self) -> Health:
        """Probe the server with short limits. Never raises."""
        ...

    def models(self) -> Sequence[ModelDetails]:
        """Every model that the server lists, with all it tells of them. Raises BackendError."""
        ...


class ModelManager(Backend, Protocol):
    """What a driver whose capabilities say `model_management` can do besides. All of it raises BackendError."""

    def show(self, model: str) -> ModelDetails:
        """One model with all the server tells. Raises ModelNotFound."""
        ...

    def canonical(self, model: str) -> str:
        """The one name under which the server knows what this name means: two of the same pull are one."""
        ...

    def pull(self, model: str, on_progress: OnProgress, cancellation: Cancellation, timeouts: Timeouts) -> None:
        """Download a model; returns only when the server has said that it succeeded. Raises Cancelled too."""
        ...

    def delete(self, model: str) -> None:
        """Remove a model from the server. Raises ModelNotFound."""
        ...

    def load(self, model: str, config: ModelConfig, cancellation: Cancellation, timeouts: Timeouts) -> None:
        """Bring a model into memory with the load-time options of `config`, and wait until it is there."""
        ...

    def unload(self, model: str) -> None:
        """Free the memory that a model takes."""
        ...

    def is_loaded(self, model: str, config: ModelConfig) -> bool:
        """Whether a call with `config` would find it in memory as it needs it. Short limits."""
        ...
