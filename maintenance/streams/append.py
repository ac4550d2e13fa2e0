"""The writer's side: events go in, in order."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from redis.client import Pipeline
from redis.typing import EncodableT

from maintenance import broker

Event = tuple[str, Mapping[str, Any]]


def dumps(data: Mapping[str, Any]) -> str:
    """One line of JSON, whatever the text inside."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, default=str)


def append(key: str, events: Sequence[Event]) -> list[str]:
    """Append events in order, in one round trip, and return their ids. Raises RedisError: all or none are written."""
    with broker.quick().pipeline(transaction=len(events) > 1) as pipeline:
        _add(pipeline, key, events)
        return _ids(pipeline.execute(), events)


def append_and_look(key: str, events: Sequence[Event], other: str) -> tuple[list[str], bool]:
    """As `append`; and whether the key `other` is there, in the same round trip."""
    with broker.quick().pipeline(transaction=len(events) > 1) as pipeline:
        _add(pipeline, key, events)
        pipeline.exists(other)
        answers = pipeline.execute()
    return _ids(answers, events), bool(answers[-1])


def _add(pipeline: Pipeline, key: str, events: Sequence[Event]) -> None:
    for name, data in events:
        fields: dict[EncodableT, EncodableT] = {"event": name, "data": dumps(data)}
        pipeline.xadd(key, fields, maxlen=settings.STREAM_MAX_EVENTS, approximate=True)
    pipeline.expire(key, settings.STREAM_KEPT_SECONDS)


def _ids(answers: Sequence[bytes], events: Sequence[Event]) -> list[str]:
    return [answer.decode() for answer in answers[: len(events)]]


def delete(key: str) -> None:
    """Forget a stream. Raises RedisError."""
    broker.quick().delete(key)
