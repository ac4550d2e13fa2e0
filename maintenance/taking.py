"""Taking the next dispatch from several queues, strictly in their order, without a moment in which it is nowhere.

RQ waits on several queues with BLPOP: a worker that dies, or loses the reply, after the pop has lost the job. Here a
script moves the id to the queue's intermediate list, from which it goes when the job is registered as started. Waiting
is done on lists of tokens beside the queues: a token says that a job came, and losing one costs a second at most.
"""

from collections.abc import Sequence
from typing import Any, cast

import redis
from rq.intermediate_queue import IntermediateQueue

# KEYS: queue, its intermediate list, its tokens, and so on for each queue. Answers the queue's number and the id.
_TAKE = """
for i = 1, #KEYS, 3 do
  local id = redis.call('LMOVE', KEYS[i], KEYS[i + 1], 'LEFT', 'RIGHT')
  if id then
    redis.call('LPOP', KEYS[i + 2])
    return {(i - 1) / 3, id}
  end
end
"""
TOKENS_KEPT = 1000


def queue_key(name: str) -> str:
    return f"rq:queue:{name}"


def tokens_key(name: str) -> str:
    return f"wake:{name}"


def taken_key(name: str) -> str:
    """Where an id is between the queue and the registration of its start."""
    return str(IntermediateQueue.get_intermediate_queue_key(queue_key(name)))


def wake(connection: "redis.Redis", name: str) -> None:
    """Tell a worker that waits that a job came. Raises RedisError."""
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.rpush(tokens_key(name), 1)
        pipeline.ltrim(tokens_key(name), -TOKENS_KEPT, -1)
        pipeline.execute()


class Taker:
    """Takes from these queues, the most urgent first."""

    def __init__(self, connection: "redis.Redis", names: Sequence[str]) -> None:
        self._connection = connection
        self._names = names
        self._keys = [key for name in names for key in (queue_key(name), taken_key(name), tokens_key(name))]
        self._script = connection.register_script(_TAKE)

    def take(self, wait_seconds: int) -> tuple[str, str] | None:
        """Queue and RQ id of the next dispatch; None where none came in time. Raises RedisError."""
        found = self._now()
        if found is None and wait_seconds:
            self._connection.blpop([tokens_key(name) for name in self._names], wait_seconds)
            found = self._now()
        return found

    def _now(self) -> tuple[str, str] | None:
        answer = cast("list[Any] | None", self._script(keys=self._keys))
        return (self._names[int(answer[0])], answer[1].decode(errors="replace")) if answer else None
