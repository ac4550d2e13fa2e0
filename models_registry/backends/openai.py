"""Driver `openai`: any server that speaks OpenAI's chat completions (OpenAI, vLLM, llama.cpp, LM Studio, …)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import requests
from django.conf import settings
from urllib3.exceptions import HTTPError

from models_registry import errors
from models_registry.backends import failures, openai_request, tokens, wire
from models_registry.backends.base import Cancellation, Capabilities, ChatRequest, Health, OnDelta, Reply, Timeouts
from models_registry.backends.exchange import Exchange
from models_registry.backends.openai_reply import ReplyBuilder, objects
from models_registry.backends.settings import BackendSettings
from models_registry.backends.sse import Event, Parser, TooLong

DONE = "[DONE]"
AFTER_FINISH_SECONDS = 2.0  # what follows the finish reason, usage and the end marker, comes at once or not at all
AFTER_DONE_SECONDS = 0.2  # the end of the body, after which the connection can be used again
PROBE = Timeouts(connect=1, first_byte=2, idle=1, total=3)
OUTSIDE_STREAM_MAX_BYTES = 1_000_000


class OpenAIBackend:
    """A server at a base URL. Makes each call once; whoever called decides about another attempt."""

    driver = "openai"

    def __init__(self, configured: BackendSettings) -> None:
        self.name = configured.name
        self.capabilities = Capabilities(function_calling=configured.function_calling)
        self._configured = configured

    def stream(self, request: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        body = openai_request.body(request, extensions=self._configured.extensions)
        with Exchange(self.name, request.timeouts, cancellation) as exchange:
            reply = _Call(self._configured, exchange, request.config.model).chat(body, on_delta)
        return reply if reply.usage else replace(reply, usage=tokens.estimate(request, reply))

    def health(self) -> Health:
        try:
            with Exchange(self.name, PROBE, Cancellation()) as exchange:
                return Health(status="available", models=_Call(self._configured, exchange).models())
        except (errors.Unauthorized, errors.BackendMisconfigured) as error:
            return Health(status="misconfigured", error=error.message)
        except errors.BackendError as error:
            return Health(status="unreachable", error=error.message)


class _Call:
    """One request to the server, and what comes of it."""

    def __init__(self, configured: BackendSettings, exchange: Exchange, model: str = "") -> None:
        self._configured = configured
        self._backend = configured.name
        self._exchange = exchange
        self._model = model
        self._secrets = failures.secrets_of(configured.api_key, configured.base_url)

    def chat(self, body: openai_request.Body, on_delta: OnDelta) -> Reply:
        builder = ReplyBuilder()
        with self._opened("POST", "/chat/completions", json.dumps(body).encode()) as response:
            for event in self._events(response):
                self._exchange.check()  # nothing is said after a cancel
                self._take(event, builder, response, on_delta)
        self._exchange.check()
        for kind, text in builder.finish():
            on_delta(kind, text)
        return builder.reply()

    def _take(self, event: Event, builder: ReplyBuilder, response: requests.Response, on_delta: OnDelta) -> None:
        if event.data == DONE:
            builder.done = True
            self._exchange.finishing(AFTER_DONE_SECONDS)
        if builder.done:
            return
        chunk = self._object(event.data)
        self._raise_error(chunk, event, response)
        for kind, text in builder.add(chunk):
            on_delta(kind, text)
        if builder.finish_reason:
            self._exchange.finishing(AFTER_FINISH_SECONDS)
        elif builder.begun:
            self._exchange.began()

    def _raise_error(self, chunk: dict[str, Any], event: Event, response: requests.Response) -> None:
        error = chunk.get("error")
        if not error and "error" in (event.name, chunk.get("object")):
            error = chunk
        if not error and any(choice.get("finish_reason") == "error" for choice in objects(chunk.get("choices"))):
            error = "finish_reason: error"
        if error:
            raise failures.from_error(self._backend, error, response.headers, model=self._model, secrets=self._secrets)

    def _events(self, response: requests.Response) -> Iterator[Event]:
        """The events of the body; a server that does not stream sends one JSON document, which counts as one."""
        if _is_json(response):
            yield Event("", wire.beginning(self._exchange, response, settings.BACKEND_REPLY_MAX_BYTES))
            return
        parser = Parser(settings.BACKEND_REPLY_MAX_BYTES)
        try:
            for piece in wire.pieces(self._exchange, response, settings.BACKEND_REPLY_MAX_BYTES):
                yield from parser.feed(piece)
        except wire.Broken:
            pass  # the same as an end without an end marker
        except TooLong as error:
            raise errors.BackendError(f"{self._backend} sent an event that is too long.") from error
        for event in parser.finish():
            if event.data == DONE or _parsed(event.data) is not None:  # half an event is worth nothing
                yield event

    def models(self) -> tuple[str, ...]:
        """The ids of the models that the server lists."""
        with self._opened("GET", "/models", None) as response:
            listed = self._object(wire.beginning(self._exchange, response, OUTSIDE_STREAM_MAX_BYTES))
        self._exchange.check()
        return tuple(str(model["id"]) for model in objects(listed.get("data")) if model.get("id"))

    def _object(self, text: str) -> dict[str, Any]:
        value = _parsed(text)
        if value is not None:
            return value
        self._exchange.check()
        detail = f"{len(text)} characters that are no JSON object"
        raise errors.BackendError(f"{self._backend} sent something that cannot be read.", detail=detail)

    @contextmanager
    def _opened(self, method: str, path: str, body: bytes | None) -> Iterator[requests.Response]:
        """The response, if it is a good one. Raises what its status says, or why there is none."""
        self._exchange.check()
        base_url = self._configured.base_url.rstrip("/")
        try:
            response = wire.send(self._exchange, base_url, method, base_url + path, self._headers(), body)
        except (requests.RequestException, HTTPError, ValueError) as error:
            self._exchange.check()
            raise self._no_answer(error) from error
        try:
            self._refuse_bad(response)
            yield response
        finally:
            response.close()

    def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "text/event-stream, application/json",
            "Content-Type": "application/json",
            "User-Agent": settings.APP_NAME,
        }
        if self._configured.api_key:
            headers["Authorization"] = f"Bearer {self._configured.api_key}"
        return headers

    def _refuse_bad(self, response: requests.Response) -> None:
        if response.status_code != HTTPStatus.OK:
            body = wire.beginning(self._exchange, response, OUTSIDE_STREAM_MAX_BYTES)
            self._exchange.check()
            raise failures.from_status(
                self._backend,
                response.status_code,
                response.headers,
                body,
                model=self._model,
                secrets=self._secrets,
            )
        if "text/html" in response.headers.get("content-type", ""):
            raise errors.BackendMisconfigured(f"{self._backend} answered with a web page: check its base URL.")

    def _no_answer(self, error: Exception) -> errors.BackendError:
        detail = failures.redact(str(error), *self._secrets)
        if isinstance(error, requests.ConnectTimeout):
            limit = self._exchange.timeouts.connect
            return errors.BackendTimeout(f"{self._backend} took no connection within {limit:g} s.", detail=detail)
        if isinstance(error, requests.exceptions.SSLError):
            message = f"{self._backend} could not be reached: its certificate or encryption was refused."
            return errors.BackendUnreachable(message, detail=detail)
        if isinstance(error, requests.ConnectionError | HTTPError):
            return errors.BackendUnreachable(f"{self._backend} could not be reached.", detail=detail)
        return errors.BackendMisconfigured(
            f"{self._backend} has a base URL or a key that cannot be used.", detail=detail
        )


def _is_json(response: requests.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("application/json")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
