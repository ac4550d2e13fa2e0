"""Driver `ollama`: an Ollama server by its own API, chat and models."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings

from models_registry import errors
from models_registry.backends import ollama_models, ollama_names, ollama_request, probe, tokens
from models_registry.backends.base import (
    Cancellation,
    Capabilities,
    ChatRequest,
    Health,
    ModelConfig,
    ModelDetails,
    OnDelta,
    OnProgress,
    Reply,
    Timeouts,
    Usage,
)
from models_registry.backends.call import Call, bearer
from models_registry.backends.exchange import Exchange
from models_registry.backends.ollama_failures import PHRASES
from models_registry.backends.ollama_pull import Pull
from models_registry.backends.ollama_reply import ReplyBuilder
from models_registry.backends.settings import BackendSettings

AFTER_DONE_SECONDS = 0.2  # the end of the body, after which the connection can be used again
logger = logging.getLogger(__name__)


class OllamaBackend:
    """A server at a base URL. Makes each call once; whoever called decides about another attempt.

    The first call to a model waits until it is loaded, and giving up early ends the load: `load` first.
    """

    driver = "ollama"

    def __init__(self, configured: BackendSettings) -> None:
        self.name = configured.name
        self.capabilities = Capabilities(
            function_calling=configured.function_calling, vision=True, model_management=True
        )
        self._configured = configured

    def stream(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        body = ollama_request.body(request, settings.OLLAMA_KEEP_ALIVE)
        with Exchange(self.name, _limits(request), cancellation) as exchange:
            reply = _Chat(self._call(exchange, request.config.model), on_delta).made(body)
        return replace(reply, usage=self._counted(request, reply))

    def health(self) -> Health:
        return probe.health(lambda: [ollama_models.name(model) for model in self._listed("/api/tags", probe.LIMITS)])

    def models(self) -> Sequence[ModelDetails]:
        """Every model that is installed. Only newer servers tell windows and abilities here; `show` always does."""
        loaded = self._listed("/api/ps")
        return [ollama_models.details(model, {}, loaded) for model in self._listed("/api/tags")]

    def show(self, model: str) -> ModelDetails:
        shown = self._shown(model)
        listed = [one for one in self._listed("/api/tags") if ollama_names.same(ollama_models.name(one), model)]
        found = listed[0] if listed else {"name": self.canonical(model)}
        return ollama_models.details(found, shown, self._listed("/api/ps"))

    def canonical(self, model: str) -> str:
        return ollama_names.canonical(model)

    def pull(self, model: str, on_progress: OnProgress, cancellation: Cancellation, timeouts: Timeouts) -> None:
        stall = float(settings.MODEL_PULL_STALL_SECONDS)
        with Exchange(self.name, replace(timeouts, idle=stall), cancellation) as exchange:
            Pull(self._call(exchange, model), self.name, model, stall).run(on_progress)

    def delete(self, model: str) -> None:
        with (
            Exchange(self.name, probe.LISTING_LIMITS, Cancellation()) as exchange,
            self._call(exchange, model).opened("DELETE", "/api/delete", {"model": model}),
        ):
            pass  # the status says it all

    def load(self, model: str, config: ModelConfig, cancellation: Cancellation, timeouts: Timeouts) -> None:
        body = ollama_request.loading(model, config, settings.OLLAMA_KEEP_ALIVE)
        with Exchange(self.name, timeouts, cancellation) as exchange:
            self._finish(self._call(exchange, model), body)

    def unload(self, model: str) -> None:
        with Exchange(self.name, probe.LISTING_LIMITS, Cancellation()) as exchange:
            self._finish(self._call(exchange, model), ollama_request.unloading(model))

    def is_loaded(self, model: str, config: ModelConfig) -> bool:
        """True for a model that runs elsewhere: there is nothing to load."""
        if ollama_names.is_remote(model):
            return True
        loaded = self._listed("/api/ps", probe.LIMITS)
        running = next((one for one in loaded if ollama_names.same(ollama_models.name(one), model)), None)
        return running is not None and self._fits(running, model, ollama_request.window(config))

    def _fits(self, running: Mapping[str, Any], model: str, wanted: int) -> bool:
        window = ollama_models.loaded_window(running)
        if window in (0, wanted):
            return True
        # No model is loaded with more than its own maximum, whatever was asked for.
        return window < wanted and window == ollama_models.context_length(self._shown(model))

    def _counted(self, request: ChatRequest, reply: Reply) -> Usage:
        told, estimated = reply.usage or Usage(), tokens.estimate(request, reply)
        window = ollama_request.window(request.config)
        if 0 < told.prompt < estimated.prompt / 2 and estimated.prompt > window / 2:
            logger.warning(
                "%s counted %d tokens where about %d were sent: it may have left messages out, or some were cached",
                self.name, told.prompt, estimated.prompt,
            )  # fmt: skip
        if told.prompt and told.completion:
            return told
        return replace(
            estimated,
            prompt=told.prompt or estimated.prompt,
            completion=told.completion or estimated.completion,
        )

    def _shown(self, model: str) -> Mapping[str, Any]:
        with Exchange(self.name, probe.LISTING_LIMITS, Cancellation()) as exchange:
            return self._call(exchange, model).document("POST", "/api/show", {"model": model})

    def _listed(self, path: str, timeouts: Timeouts = probe.LISTING_LIMITS) -> list[Mapping[str, Any]]:
        with Exchange(self.name, timeouts, Cancellation()) as exchange:
            return ollama_models.listed(self._call(exchange).document("GET", path))

    def _finish(self, call: Call, body: ollama_request.Body) -> None:
        """Send what is answered with one line when it is done."""
        with call.opened("POST", "/api/chat", body) as response:
            for line in call.lines(response):
                if error := line.get("error"):
                    raise call.error(error, response)
                if line.get("done"):
                    return
        call.exchange.check()
        raise errors.StreamEnded(f"{self.name} ended its answer before it was done.")

    def _call(self, exchange: Exchange, model: str = "") -> Call:
        return Call(self._configured, exchange, bearer(self._configured.api_key), model, PHRASES)


def _limits(request: ChatRequest) -> Timeouts:
    """A call is told of when it is whole: while the model writes its arguments, the server says nothing."""
    limits = request.timeouts
    return replace(limits, idle=max(limits.idle, limits.first_byte)) if request.tools else limits


class _Chat:
    """One reply as it comes."""

    def __init__(self, call: Call, on_delta: OnDelta) -> None:
        self._call = call
        self._exchange = call.exchange
        self._on_delta = on_delta
        self._builder = ReplyBuilder()

    def made(self, body: ollama_request.Body) -> Reply:
        with self._call.opened("POST", "/api/chat", body) as response:
            for line in self._call.lines(response):
                self._exchange.check()  # nothing is said after a cancel
                if error := line.get("error"):
                    raise self._call.error(error, response)
                self._take(line)
        self._exchange.check()
        for kind, text in self._builder.finish():
            self._on_delta(kind, text)
        return self._builder.reply()

    def _take(self, line: Mapping[str, Any]) -> None:
        if self._builder.done:
            return
        for kind, text in self._builder.add(line):
            self._on_delta(kind, text)
        if self._builder.done:
            self._exchange.finishing(AFTER_DONE_SECONDS)
        elif self._builder.begun:
            self._exchange.began()
