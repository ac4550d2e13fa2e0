"""Workers of plain RQ in the comparison of queues: `python -m benchmarks.rq_program {fork,simple} NUMBER`.

They load what ours load: a job of a Django project needs that. Redis stands in `BROKER_URL`.
"""

import os
import sys

import django
import redis
from rq import SimpleWorker, Worker
from rq.worker_pool import WorkerPool

from benchmarks import notes  # noqa: F401 - what is imported here is not imported in every horse

KINDS = {"fork": Worker, "simple": SimpleWorker}
QUEUE = "compared"


def main(kind: str, number: str) -> None:
    django.setup()
    connection = redis.Redis.from_url(os.environ["BROKER_URL"])
    WorkerPool([QUEUE], connection=connection, num_workers=int(number), worker_class=KINDS[kind]).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
