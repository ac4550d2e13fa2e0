"""Pausing queues: from a paused one no worker takes jobs, while what is running goes on.

The rows of `QueuePause` are the truth. Workers do not ask the database before each job: they read a mirror in Redis,
in the same script that takes the job (`maintenance/taking.py`). The mirror is written by whoever changes a pause, by
each worker before its first job, by the leader every few seconds, and by the first worker to find it missing.
"""

import logging
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, connections, transaction
from django.db.models import Q
from django.utils import timezone
from redis.exceptions import RedisError

from maintenance import broker
from maintenance.errors import Invalid, Refusal
from maintenance.models import QueuePause
from maintenance.taking import MIRRORED, PAUSED

logger = logging.getLogger(__name__)

# Whose turn it is to write the mirror: changes with each writing, so that an older reading cannot undo a newer one.
_TURN = "queues:mirroring"
# KEYS: turn, marker, set of paused queues. ARGV: the turn in which the database was read, the next, the paused queues.
_WRITE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[3])
for i = 3, #ARGV do redis.call('SADD', KEYS[3], ARGV[i]) end
redis.call('SET', KEYS[2], 1)
return 1
"""


def pause(queue: str, by: User | None, reason: str, until: datetime | None = None) -> bool:
    """Let no worker take a job from this queue, until then or for good. Pausing again changes reason and end.

    True: nothing is taken from now on. False: Redis does not answer, and the pause begins within seconds of its
    return. Raises Invalid, and Refusal where no worker takes from queues. Not to be called inside a transaction:
    workers must see the row before the mirror says so.
    """
    _refuse_unknown(queue)
    if settings.QUEUE_CONNECTION == "sync":
        raise Refusal("Jobs run where they are enqueued: there is nothing to pause.", code="no_workers")
    if not reason.strip():
        raise Invalid("Say why the queue is paused.", errors={"reason": ["This field is required."]})
    if until is not None and until <= timezone.now():
        raise Invalid("A pause ends in the future.", errors={"until": ["This is in the past."]})
    terms = {"reason": reason.strip()[:500], "paused_by": by, "paused_at": timezone.now(), "until": until}
    with transaction.atomic(durable=True):
        QueuePause.objects.update_or_create(queue=queue, defaults=terms)
    logger.info("queue %s is paused until %s: %s", queue, until or "somebody resumes it", reason)
    return _mirror_now()


def resume(queue: str, by: User | None) -> bool:
    """Let workers take from this queue again. False where it was not paused. Raises Invalid."""
    _refuse_unknown(queue)
    was_paused = queue in paused()
    with transaction.atomic(durable=True):
        QueuePause.objects.filter(queue=queue).delete()
    _mirror_now()
    if was_paused:
        logger.info("queue %s is resumed by %s", queue, by or "the command line")
    return was_paused


def paused() -> dict[str, QueuePause]:
    """The pauses in force, by queue."""
    in_force = QueuePause.objects.filter(Q(until=None) | Q(until__gt=timezone.now())).order_by("queue")
    return {row.queue: row for row in in_force.select_related("paused_by")}


def mirror() -> None:
    """Have Redis say which queues are paused, as the database does. Raises RedisError.

    Twice at most: who loses the second time lost to a process that read the database after this one began.
    """
    if settings.QUEUE_CONNECTION == "sync":  # nobody takes jobs from a queue
        return
    for _ in range(2):
        turn = _turn()
        if _write(turn, paused()):
            return


def mirror_from_worker() -> None:
    """The same for the parent of a horse, which keeps no connection to the database. Raises RedisError."""
    try:
        mirror()
    except DatabaseError as error:
        logger.warning("the database does not say which queues are paused (%s)", type(error).__name__)
    finally:
        connections.close_all()


def _mirror_now() -> bool:
    try:
        mirror()
    except RedisError as error:
        logger.warning("Redis is away (%s): which queues are paused is written when it is back", type(error).__name__)
        return False
    return True


def _turn() -> bytes:
    with broker.quick().pipeline() as pipeline:
        pipeline.set(_TURN, secrets.token_hex(8), nx=True)
        pipeline.get(_TURN)
        return cast("bytes", pipeline.execute()[1])


def _write(turn: bytes, names: Collection[str]) -> bool:
    words: list[bytes | str] = [turn, secrets.token_hex(8), *names]
    return bool(broker.quick().eval(_WRITE, 3, _TURN, MIRRORED, PAUSED, *words))


def _refuse_unknown(queue: str) -> None:
    if queue not in broker.queue_names():
        known = ", ".join(broker.queue_names())
        raise Invalid(f"There is no queue {queue!r}. Queues: {known}.", errors={"queue": [f"One of {known}."]})
