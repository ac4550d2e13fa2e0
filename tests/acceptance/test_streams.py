"""Event streams over HTTP, from the server as it runs."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from conversations.models import Conversation
from maintenance.access import tokens
from tests.acceptance.conftest import ROOT, database_url
from tests.asgi import Event, parse
from tests.conversations.api.streaming import Writer
from tests.processes import until
from tests.services import Valkey, free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.django_db(transaction=True)]


class Web:
    """The web process, with the options that it is started with."""

    def __init__(self, user: User) -> None:
        self.port = free_port()
        self.token = tokens.issue(user, "test")[1]
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "STREAM_HEARTBEAT_SECONDS": "1",
        }
        command = [*next(part.command for part in settings.STACK if part.name == "web")]
        command[command.index("--port") + 1] = str(self.port)
        self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE)
        until(self._answers, seconds=60)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @contextmanager
    def stream(self, conversation: Conversation, **headers: str) -> Iterator[Iterator[Event]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        path = f"/api/v1/conversations/{conversation.pk}/stream"
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}", **headers})
        try:
            yield _events(connection.getresponse())
        finally:
            connection.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()


def _events(response: Any) -> Iterator[Event]:
    assert response.status == 200
    block = ""
    for line in response:
        block += line.decode()
        if block.endswith("\n\n"):
            if event := parse(block.strip()):
                yield event
            block = ""


@pytest.fixture
def web(valkey: Valkey, alice: User) -> Iterator[Web]:
    running = Web(alice)
    try:
        yield running
    finally:
        running.kill()


def test_a_run_is_read_over_http_and_read_on_with_the_cursor(web: Web, conversation: Conversation) -> None:
    writer = Writer(conversation)
    with web.stream(conversation) as events:
        assert next(events).name == "connected"
        writer.say("Hel")
        cursor = next(events).id
    writer.say("lo")
    writer.store("Hello")
    writer.end()
    writer.announce_end()
    with web.stream(conversation, **{"Last-Event-ID": cursor}) as events:
        assert [event.name for event in events] == ["connected", "text_chunk", "completed"]


def test_a_server_that_is_told_to_stop_ends_its_streams_at_once(web: Web, conversation: Conversation) -> None:
    Writer(conversation)
    with web.stream(conversation) as events:
        assert next(events).name == "connected"
        web.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert list(events) == []  # closed properly: a broken connection raises
        web.process.wait(10)
        assert time.monotonic() - started < 2.5
    assert web.process.stderr
    assert b"Traceback" not in (errors := web.process.stderr.read())
    assert b"timeout graceful shutdown exceeded" not in errors
