"""One HTTP request to a backend's server inside an exchange: what every driver needs, whatever its protocol says."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import requests
from django.conf import settings
from urllib3.exceptions import HTTPError

from models_registry import errors
from models_registry.backends import failures, wire
from models_registry.backends.exchange import Exchange
from models_registry.backends.settings import BackendSettings
from models_registry.backends.sse import Event, Parser, TooLong

OUTSIDE_STREAM_MAX_BYTES = 1_000_000


def bearer(api_key: str) -> dict[str, str]:
    """The header that carries a key to most servers; none where there is no key."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


class Call:
    """A request to the server of `configured`, and what comes of it. Raises our errors only.

    `headers` are the driver's own, the key among them. `model`, where the call has one, is named in errors. `phrases`
    are what the provider's own words mean, see `failures`.
    """

    def __init__(
        self,
        configured: BackendSettings,
        exchange: Exchange,
        headers: Mapping[str, str],
        model: str = "",
        phrases: Sequence[failures.Phrase] = (),
    ) -> None:
        self.exchange = exchange
        self._base_url = configured.base_url.rstrip("/")
        self._backend = configured.name
        self._headers = {
            "Accept": "text/event-stream, application/x-ndjson, application/json",
            "Content-Type": "application/json",
            "User-Agent": settings.APP_NAME,
            **headers,
        }
        self._model = model
        self._phrases = phrases
        self._keyed = bool(configured.api_key)
        self._secrets = failures.secrets_of(configured.api_key, configured.base_url)

    @contextmanager
    def opened(self, method: str, path: str, value: Mapping[str, Any] | None = None) -> Iterator[requests.Response]:
        """The response to `value` as JSON, its body unread, if it is a good one. Raises what its status says."""
        self.exchange.check()
        body = None if value is None else json.dumps(value).encode()
        try:
            response = wire.send(self.exchange, self._base_url, method, self._base_url + path, self._headers, body)
        except (requests.RequestException, HTTPError, ValueError) as error:
            self.exchange.check()
            raise self._no_answer(error) from None  # a traceback would show the cause, and that may quote the key
        try:
            self._refuse_bad(response)
            yield response
        finally:
            response.close()

    def document(self, method: str, path: str, value: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that the server answers with."""
        with self.opened(method, path, value) as response:
            text = wire.beginning(self.exchange, response, settings.BACKEND_REPLY_MAX_BYTES)
        self.exchange.check()
        return self.object(text)

    def pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it comes. One that is cut ends, like one that is over: its end marker tells them apart."""
        with suppress(wire.Broken):
            yield from wire.pieces(self.exchange, response, settings.BACKEND_REPLY_MAX_BYTES)

    def events(self, response: requests.Response, markers: Sequence[str] = ()) -> Iterator[Event]:
        """The server-sent events of the body, whose data are JSON objects or one of `markers`.

        A server that does not stream sends one JSON document, which counts as one.
        """
        if is_json(response):
            yield Event("", wire.beginning(self.exchange, response, settings.BACKEND_REPLY_MAX_BYTES))
            return
        parser = Parser(settings.BACKEND_REPLY_MAX_BYTES)
        try:
            for piece in self.pieces(response):
                yield from parser.feed(piece)
        except TooLong as error:
            raise errors.BackendError(f"{self._backend} sent an event that is too long.") from error
        for event in parser.finish():
            if event.data in markers or parsed(event.data) is not None:  # half an event is worth nothing
                yield event

    def lines(self, response: requests.Response) -> Iterator[dict[str, Any]]:
        """The JSON objects of a body that has one in each line. Half a line at its end is worth nothing."""
        rest = bytearray()
        for piece in self.pieces(response):
            rest += piece
            if b"\n" in piece:
                *whole, last = bytes(rest).split(b"\n")
                rest = bytearray(last)
                for line in whole:
                    if line.strip():
                        yield self.object(line.decode("utf-8", "replace"))
        if value := parsed(rest.decode("utf-8", "replace")):
            yield value

    def object(self, text: str) -> dict[str, Any]:
        """The JSON object in `text`."""
        value = parsed(text)
        if value is not None:
            return value
        self.exchange.check()
        detail = f"{len(text)} characters that are no JSON object"
        raise errors.BackendError(f"{self._backend} sent something that cannot be read.", detail=detail)

    def error(self, value: Any, response: requests.Response) -> errors.BackendError:
        """What an error object, or a text, in the body of a good response means."""
        return failures.from_error(
            self._backend,
            value,
            response.headers,
            model=self._model,
            secrets=self._secrets,
            phrases=self._phrases,
        )

    def refusal(self, status: int, body: str, response: requests.Response) -> errors.BackendError:
        """What a status and a body mean, be the status the response's own or the one it should have had."""
        return failures.from_status(
            self._backend,
            status,
            response.headers,
            body,
            model=self._model,
            secrets=self._secrets,
            phrases=self._phrases,
            keyed=self._keyed,
        )

    def _refuse_bad(self, response: requests.Response) -> None:
        if response.status_code != HTTPStatus.OK:
            body = wire.beginning(self.exchange, response, OUTSIDE_STREAM_MAX_BYTES)
            self.exchange.check()
            raise self.refusal(response.status_code, body, response)
        if "text/html" in response.headers.get("content-type", ""):
            raise errors.BackendMisconfigured(f"{self._backend} answered with a web page: check its base URL.")

    def _no_answer(self, error: Exception) -> errors.BackendError:
        detail = failures.redact(str(error), *self._secrets)
        if isinstance(error, requests.ConnectTimeout):
            limit = self.exchange.timeouts.connect
            return errors.BackendTimeout(f"{self._backend} took no connection within {limit:g} s.", detail=detail)
        if isinstance(error, requests.exceptions.SSLError):
            message = f"{self._backend} could not be reached: its certificate or encryption was refused."
            return errors.BackendUnreachable(message, detail=detail)
        if isinstance(error, requests.ConnectionError | HTTPError):
            return errors.BackendUnreachable(f"{self._backend} could not be reached.", detail=detail)
        return errors.BackendMisconfigured(
            f"{self._backend} has a base URL or a key that cannot be used.", detail=detail
        )


def is_json(response: requests.Response) -> bool:
    """Whether the body is one JSON document."""
    return response.headers.get("content-type", "").lower().startswith("application/json")


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None where there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
