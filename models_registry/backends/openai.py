"""Driver `openai`: any server that speaks OpenAI's chat completions (OpenAI, vLLM, llama.cpp, LM Studio, …)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import requests

from models_registry.backends import openai_models, openai_request, probe, tokens
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
from models_registry.backends.call import Call, bearer
from models_registry.backends.exchange import Exchange
from models_registry.backends.openai_reply import ReplyBuilder
from models_registry.backends.settings import BackendSettings
from models_registry.backends.sse import Event
from models_registry.backends.values import objects

DONE = "[DONE]"
AFTER_FINISH_SECONDS = 2.0  # what follows the finish reason, usage and the end marker, comes at once or not at all
AFTER_DONE_SECONDS = 0.2  # the end of the body, after which the connection can be used again


class OpenAIBackend:
    """A server at a base URL. Makes each call once; whoever called decides about another attempt."""

    driver = "openai"

    def __init__(self, configured: BackendSettings) -> None:
        self.name = configured.name
        self.capabilities = Capabilities(function_calling=configured.function_calling, vision=configured.vision)
        self._configured = configured

    def stream(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        body = openai_request.body(request, extensions=self._configured.extensions)
        with Exchange(self.name, request.timeouts, cancellation) as exchange:
            reply = _Chat(self._call(exchange, request.config.model), on_delta).made(body)
        return reply if reply.usage else replace(reply, usage=tokens.estimate(request, reply))

    def health(self) -> Health:
        return probe.health(lambda: [model.name for model in self._listed(probe.LIMITS)])

    def models(self) -> Sequence[ModelDetails]:
        return self._listed(probe.LISTING_LIMITS)

    def _listed(self, timeouts: Timeouts) -> Sequence[ModelDetails]:
        with Exchange(self.name, timeouts, Cancellation()) as exchange:
            return openai_models.details(self._call(exchange).document("GET", "/models"))

    def _call(self, exchange: Exchange, model: str = "") -> Call:
        return Call(self._configured, exchange, bearer(self._configured.api_key), model)


class _Chat:
    """One completion as it comes."""

    def __init__(self, call: Call, on_delta: OnDelta) -> None:
        self._call = call
        self._exchange = call.exchange
        self._on_delta = on_delta
        self._builder = ReplyBuilder()

    def made(self, body: openai_request.Body) -> Reply:
        with self._call.opened("POST", "/chat/completions", body) as response:
            for event in self._call.events(response, markers=[DONE]):
                self._exchange.check()  # nothing is said after a cancel
                self._take(event, response)
        self._exchange.check()
        for kind, text in self._builder.finish():
            self._on_delta(kind, text)
        return self._builder.reply()

    def _take(self, event: Event, response: requests.Response) -> None:
        builder = self._builder
        if event.data == DONE:
            builder.done = True
            self._exchange.finishing(AFTER_DONE_SECONDS)
        if builder.done:
            return
        chunk = self._call.object(event.data)
        if error := _error(chunk, event):
            raise self._call.error(error, response)
        for kind, text in builder.add(chunk):
            self._on_delta(kind, text)
        if builder.finish_reason:
            self._exchange.finishing(AFTER_FINISH_SECONDS)
        elif builder.begun:
            self._exchange.began()


def _error(chunk: dict[str, Any], event: Event) -> Any:
    """What a chunk says went wrong, if anything did."""
    error = chunk.get("error")
    if not error and "error" in (event.name, chunk.get("object")):
        return chunk
    if not error and any(choice.get("finish_reason") == "error" for choice in objects(chunk.get("choices"))):
        return "finish_reason: error"
    return error
