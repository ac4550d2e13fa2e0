"""Taking the next dispatch from several queues, strictly in their order, without a moment in which it is nowhere.

RQ waits on several queues with BLPOP: a worker that dies, or loses the reply, after the pop has lost the job. Here a
script moves the id to the queue's intermediate list, from which it goes when the job is registered as started. Waiting
is done on lists of tokens beside the queues: a token says that a job came, and losing one costs a second at most.

The same script passes over queues that are paused, so nothing is taken once a pause has begun. Which are paused is the
database's to say; Redis has a mirror of it, and nothing is taken while that is missing, as after a loss of its data.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import redis
from rq.intermediate_queue import IntermediateQueue

MIRRORED = "queues:mirrored"
PAUSED = "queues:paused"
# KEYS: the mirror's marker, the set of paused queues; queue, its intermediate list, its tokens, and so on for each.
# ARGV: the queues' names. Answers {queue's number, id}, or {-1} without a mirror, or {-2, numbers of the open queues}.
_TAKE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {-1} end
local open = {}
for number = 0, #ARGV - 1 do
  if redis.call('SISMEMBER', KEYS[2], ARGV[number + 1]) == 0 then
    local first = 3 * number + 3
    local id = redis.call('LMOVE', KEYS[first], KEYS[first + 1], 'LEFT', 'RIGHT')
    if id then
      redis.call('LPOP', KEYS[first + 2])
      return {number, id}
    end
    table.insert(open, number)
  end
end
return {-2, open}
"""
# KEYS: RQ's record, the queue, its tokens, RQ's set of queues. ARGV: id, tokens kept, fields and values of the record.
_PUT = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('SADD', KEYS[4], KEYS[2])
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('RPUSH', KEYS[3], 1)
redis.call('LTRIM', KEYS[3], -ARGV[2], -1)
return 1
"""
_NO_MIRROR, _EMPTY = -1, -2
TOKENS_KEPT = 1000


def queue_key(name: str) -> str:
    return f"rq:queue:{name}"


def tokens_key(name: str) -> str:
    return f"wake:{name}"


def taken_key(name: str) -> str:
    """Where an id is between the queue and the registration of its start."""
    return str(IntermediateQueue.get_intermediate_queue_key(queue_key(name)))


def put(connection: "redis.Redis", name: str, rq_id: str, rq_job: Mapping[str, Any]) -> bool:
    """Put a dispatch with RQ's record of it into the queue, and tell a worker that waits. Raises RedisError.

    False where the record is there already. RQ itself does this in three round trips.
    """
    keys = [f"rq:job:{rq_id}", queue_key(name), tokens_key(name), "rq:queues"]
    fields = [word for pair in rq_job.items() for word in pair]
    return bool(connection.register_script(_PUT)(keys=keys, args=[rq_id, TOKENS_KEPT, *fields]))


def wake(connection: "redis.Redis", name: str) -> None:
    """Tell a worker that waits that a job came. Raises RedisError."""
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.rpush(tokens_key(name), 1)
        pipeline.ltrim(tokens_key(name), -TOKENS_KEPT, -1)
        pipeline.execute()


class Taker:
    """Takes from these queues, the most urgent first.

    `mirror` writes which queues are paused: before the first take, unless that was `mirrored` by somebody who started
    this one, and whenever Redis has lost it.
    """

    def __init__(
        self,
        connection: "redis.Redis",
        names: Sequence[str],
        mirror: Callable[[], object],
        *,
        mirrored: bool = False,
    ) -> None:
        self._connection = connection
        self._names = names
        self._keys = [MIRRORED, PAUSED]
        self._keys += [key for name in names for key in (queue_key(name), taken_key(name), tokens_key(name))]
        self._script = connection.register_script(_TAKE)
        self._mirror = mirror
        self._begun = mirrored

    def take(self, wait_seconds: int) -> tuple[str, str] | None:
        """Queue and RQ id of the next dispatch. Where there is none it waits for one to come and answers None.

        So whoever was told to stop meanwhile does not take one more. Raises RedisError.
        """
        code, rest = self._ask()
        if code >= 0:
            return self._names[code], rest.decode(errors="replace")
        if wait_seconds:
            self._wait(rest if code == _EMPTY else [], wait_seconds)
        return None

    def _wait(self, numbers: list[int], seconds: int) -> None:
        """For a job of the queues that are open: the tokens of a paused one would only wake a worker for nothing."""
        if numbers:
            self._connection.blpop([tokens_key(self._names[number]) for number in numbers], seconds)
        else:
            time.sleep(seconds)

    def _ask(self) -> tuple[int, Any]:
        answer = self._run() if self._begun else [_NO_MIRROR]
        if answer[0] == _NO_MIRROR:
            self._mirror()
            self._begun = True
            answer = self._run()
        return int(answer[0]), answer[-1]

    def _run(self) -> list[Any]:
        return cast("list[Any]", self._script(keys=self._keys, args=self._names))
