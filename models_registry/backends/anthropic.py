"""Driver `anthropic`: a server that speaks Anthropic's Messages.

The answer to a `response_schema` is constrained by the output format; models before Claude 4.5 do not know it and
refuse such a request.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import requests

from models_registry import errors
from models_registry.backends import anthropic_request, failures, probe, tokens
from models_registry.backends.anthropic_reply import WINDOW_FULL, ReplyBuilder
from models_registry.backends.base import (
    Cancellation,
    Capabilities,
    ChatRequest,
    Health,
    ModelDetails,
    OnDelta,
    Reply,
    Timeouts,
)
from models_registry.backends.call import Call
from models_registry.backends.exchange import Exchange
from models_registry.backends.settings import BackendSettings
from models_registry.backends.sse import Event

VERSION = "2023-06-01"
AFTER_STOP_SECONDS = 0.2  # the end of the body, after which the connection can be used again
PAGE_MODELS = 1000
# A 400 or a 429 in its words; the latter comes without a time to wait, for no wait helps.
PHRASES: tuple[failures.Phrase, ...] = (
    (
        re.compile(r"enforced_spend_limit|credit balance is too low|specified (workspace )?API usage limits", re.I),
        errors.Unauthorized,
        "The account at {backend} has no credit left.",
    ),
)
MAX_PAGES = 20


class AnthropicBackend:
    """A server at a base URL, without the `/v1`. Makes each call once; whoever called decides about another attempt."""

    driver = "anthropic"

    def __init__(self, configured: BackendSettings) -> None:
        self.name = configured.name
        self.capabilities = Capabilities(function_calling=configured.function_calling, vision=True)
        self._configured = configured

    def stream(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        body = anthropic_request.body(request)
        with Exchange(self.name, request.timeouts, cancellation) as exchange:
            reply = _Chat(self._call(exchange, request.config.model), on_delta).made(body)
        return reply if reply.usage else replace(reply, usage=tokens.estimate(request, reply))

    def health(self) -> Health:
        return probe.health(lambda: [model.name for model in self._listed(probe.LIMITS)])

    def models(self) -> Sequence[ModelDetails]:
        return self._listed(probe.LISTING_LIMITS)

    def _listed(self, timeouts: Timeouts) -> Sequence[ModelDetails]:
        with Exchange(self.name, timeouts, Cancellation()) as exchange:
            return [_details(model) for page in _pages(self._call(exchange)) for model in page if model.get("id")]

    def _call(self, exchange: Exchange, model: str = "") -> Call:
        key = {"x-api-key": self._configured.api_key} if self._configured.api_key else {}
        return Call(self._configured, exchange, {"anthropic-version": VERSION, **key}, model, PHRASES)


class _Chat:
    """One message as it comes."""

    def __init__(self, call: Call, on_delta: OnDelta) -> None:
        self._call = call
        self._exchange = call.exchange
        self._on_delta = on_delta
        self._builder = ReplyBuilder()

    def made(self, body: anthropic_request.Body) -> Reply:
        with self._call.opened("POST", "/v1/messages", body) as response:
            for event in self._call.events(response):
                self._exchange.check()  # nothing is said after a cancel
                self._take(event, response)
        self._exchange.check()
        if self._builder.stop_reason == WINDOW_FULL and self._builder.empty:
            raise errors.ContextWindowExceeded("The messages do not fit the model's context window.")
        return self._builder.reply()

    def _take(self, event: Event, response: requests.Response) -> None:
        builder = self._builder
        if builder.done:
            return
        value = self._call.object(event.data)
        if "error" in (event.name, value.get("type")):
            raise self._call.error(value.get("error") or value, response)
        for kind, text in builder.add(value):
            self._on_delta(kind, text)
        if builder.done:
            self._exchange.finishing(AFTER_STOP_SECONDS)
        elif builder.begun:
            self._exchange.began()


def _pages(call: Call) -> Iterator[list[Mapping[str, Any]]]:
    """What the server lists, page after page."""
    path = f"/v1/models?limit={PAGE_MODELS}"
    after = ""
    for _ in range(MAX_PAGES):
        listed = call.document("GET", f"{path}&after_id={after}" if after else path)
        models = listed.get("data")
        yield [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
        after = str(listed.get("last_id") or "")
        if not (listed.get("has_more") and after):
            return


def _details(model: Mapping[str, Any]) -> ModelDetails:
    window, released = model.get("max_input_tokens"), str(model.get("created_at"))
    return ModelDetails(
        name=str(model["id"]),
        context_length=window if isinstance(window, int) else 0,
        capabilities=_capabilities(model.get("capabilities")),
        modified_at=_moment(released),
    )


def _capabilities(told: Any) -> Sequence[str] | None:
    if not isinstance(told, dict):
        return None
    named = {"image_input": "vision", "thinking": "thinking"}
    return ["completion", "tools", *(ours for theirs, ours in named.items() if _is_supported(told.get(theirs)))]


def _is_supported(told: Any) -> bool:
    return isinstance(told, dict) and told.get("supported") is True


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
