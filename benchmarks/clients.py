"""What a client does: say something and read the answer, through the whole server or from the model directly."""

import json
import re
import time
from dataclasses import dataclass

from benchmarks import environment
from benchmarks.http import Connection

CONTENT = "How do you do?"


@dataclass(frozen=True)
class Answer:
    """Moments in seconds since 1970. `run_id` is 0 for the model's own answer."""

    asked_at: float
    first_at: float
    whole_at: float
    run_id: int = 0

    @property
    def first_ms(self) -> float:
        """From the question to the first piece of text."""
        return (self.first_at - self.asked_at) * 1000

    @property
    def whole_ms(self) -> float:
        """From the question to the end of the answer."""
        return (self.whole_at - self.asked_at) * 1000


class Watch:
    """Notes when a stream first says something, and checks at the end that it said everything.

    `first`, `chunk` and `whole` are patterns for the first text, for each piece of it, and for all of it at once.
    """

    def __init__(self, first: bytes, chunk: str, whole: str = "") -> None:
        self.first_at = 0.0
        self._first, self._chunk, self._whole = first, chunk, whole
        self._said = b""

    def __call__(self, data: bytes) -> None:
        now = time.time()
        self._said += data
        if not self.first_at and re.search(self._first, self._said):
            self.first_at = now

    def check(self, text: str) -> None:
        """Raises AssertionError unless the stream said exactly this."""
        stream = self._said.decode()
        chunks = re.findall(self._chunk, stream) or (re.findall(self._whole, stream) if self._whole else [])
        said = "".join(json.loads(f'"{chunk}"') for chunk in chunks)
        assert said == text, f"the stream said {stream!r}"


class Direct:
    """Asks the model itself."""

    def __init__(self, connection: Connection, model: str, text: str) -> None:
        self._connection, self._text = connection, text
        messages = [{"role": "user", "content": CONTENT}]
        self._body = json.dumps({"model": model, "stream": True, "messages": messages}).encode()

    async def ask(self) -> Answer:
        watch = Watch(rb'"content":"[^"]', r'"content":"((?:[^"\\]|\\.)*)"')
        asked_at = time.time()
        await self._connection.ask("POST", "/v1/chat/completions", body=self._body, on_body=watch)
        whole_at = time.time()
        watch.check(self._text)
        return Answer(asked_at, watch.first_at, whole_at)

    def close(self) -> None:
        self._connection.close()


class Client:
    """Posts a message and reads the conversation's stream, which it opens when the post is answered."""

    def __init__(self, posting: Connection, reading: Connection, token: str, text: str) -> None:
        self._posting, self._reading = posting, reading
        self._token, self._text = token, text

    async def ask(self, conversation_id: int) -> Answer:
        # A short answer may be whole before the stream is opened: then it comes with the event that ends it.
        watch = Watch(
            b"event: (text_chunk|completed)",
            r'"chunk":"((?:[^"\\]|\\.)*)"',
            r'"role":"assistant".*?"content":"((?:[^"\\]|\\.)*)"',
        )
        path = f"/api/v1/conversations/{conversation_id}"
        body = json.dumps({"content": CONTENT}).encode()
        asked_at = time.time()
        accepted = json.loads(await self._posting.ask("POST", f"{path}/messages", body=body, token=self._token))
        await self._reading.ask("GET", f"{path}/stream", token=self._token, on_body=watch)
        whole_at = time.time()
        watch.check(self._text)
        return Answer(asked_at, watch.first_at, whole_at, accepted["run_id"])

    def close(self) -> None:
        self._posting.close()
        self._reading.close()


def direct(model: str, text: str) -> Direct:
    return Direct(Connection(environment.model_port), model, text)


def client(token: str, text: str) -> Client:
    return Client(Connection(environment.port), Connection(environment.port), token, text)
