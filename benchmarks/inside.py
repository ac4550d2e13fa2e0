"""A post and a turn inside this process, without a server around them: to count and to profile what they do."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from django.test import Client

from benchmarks.clients import CONTENT
from benchmarks.profiling import Line, Profiler
from benchmarks.statements import Statements
from maintenance import broker, executor, queues, taking
from maintenance.tables import Queue

WARM_UP = 10
TIMES = 5


@dataclass(frozen=True)
class Inside:
    """Statements for each, and the profile of a turn."""

    statements_per_post: int
    statements_per_turn: int
    lines: list[Line]


def look(token: str, conversations: Sequence[int], *, profiled: int) -> Inside:
    """Profile so many turns. No worker may run meanwhile: it would take them."""
    profiler, statements = Profiler(), Statements()
    client = Client(SERVER_NAME="127.0.0.1", HTTP_AUTHORIZATION=f"Bearer {token}")
    ids = iter(conversations)
    posts, turns = [], []
    for _ in range(WARM_UP + TIMES):
        statements.take()
        _post(client, next(ids))
        posts.append(len(statements.take()))
        _take_turn()
        turns.append(len(statements.take()))
    waiting = _waiting(client, ids, profiled)
    lines = profiler.measure(lambda: _perform(next(waiting)), profiled)
    return Inside(int(median(posts[WARM_UP:])), int(median(turns[WARM_UP:])), lines)


def _waiting(client: Client, ids: Iterator[int], number: int) -> Iterator[str]:
    for _ in range(number):
        _post(client, next(ids))
    return iter([_next() for _ in range(number)])


def _post(client: Client, conversation_id: int) -> None:
    path = f"/api/v1/conversations/{conversation_id}/messages"
    answer = client.post(path, json.dumps({"content": CONTENT}), content_type="application/json")
    assert answer.status_code == 202, answer.content


def _next() -> str:
    raw = broker.quick().lpop(taking.queue_key(Queue.DEFAULT))
    assert isinstance(raw, bytes)
    return raw.decode()


def _take_turn() -> None:
    _perform(_next())


def _perform(rq_id: str) -> None:
    job_id, dispatch = queues.parse_rq_id(rq_id)
    outcome = executor.perform(job_id=job_id, dispatch=dispatch, worker="benchmark")
    assert outcome == "succeeded", outcome
