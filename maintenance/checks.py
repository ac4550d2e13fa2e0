"""Misconfiguration is found at the start: each finding has an id, and a hint at what to do."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from redis.exceptions import RedisError
from rest_framework.settings import api_settings

from maintenance import broker, ledger, reactions, schedule
from maintenance.http.throttles import parse_rate
from maintenance.tables import Drain

DRIVERS = ("sync", "database", "redis")
KEPT = ("TEMPORARY_KEPT_HOURS", "LOG_KEPT_DAYS", "JOB_HISTORY_DAYS", "JOB_FAILED_HISTORY_DAYS", "SCHEDULE_HISTORY_DAYS")
SIZES = "Give it at least one process, and no more at least than at most."


@register
def throttle_rates(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E001: a rate that would make every request fail."""
    found: list[CheckMessage] = []
    for scope, rate in api_settings.DEFAULT_THROTTLE_RATES.items():
        try:
            parse_rate(str(rate))
        except ValueError:
            name, hint = f"THROTTLE_{scope.upper()}", "A rate looks like 5/min: a number, and s, min, h or d."
            found.append(Error(f"{name} is {rate!r}, which is not a rate.", hint=hint, id="maintenance.E001"))
    return found


@register
def pool_terms(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E002: a pool of no size or unknown queues. maintenance.E003: one that ends jobs before their time."""
    found: list[CheckMessage] = []
    for name, pool in settings.WORKER_POOLS.items():
        if pool.processes < 1 or not 0 < pool.min_processes <= pool.processes:
            found.append(Error(f"The pool {name} has no workers.", hint=SIZES, id="maintenance.E002"))
        unknown = [str(queue) for queue in pool.queues if str(queue) not in settings.RQ_QUEUES]
        if unknown:
            found.append(Error(f"The pool {name} serves {unknown[0]!r}, which is no queue.", id="maintenance.E002"))
        found += [
            Error(
                f"The pool {name} has {pool.timeout.total_seconds():.0f} s; {function.name} may take "
                f"{function.timeout.total_seconds():.0f} s.",
                hint="Give the pool at least the time of each job that a stop lets finish.",
                id="maintenance.E003",
            )
            for function in ledger.functions()
            if function.queue in pool.queues and function.drain is Drain.FINISH and function.timeout > pool.timeout
        ]
    return found


@register
def queue_connection(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E004: a driver that there is not."""
    if settings.QUEUE_CONNECTION in DRIVERS:
        return []
    text = f"QUEUE_CONNECTION is {settings.QUEUE_CONNECTION!r}."
    return [Error(text, hint=f"It is one of {', '.join(DRIVERS)}.", id="maintenance.E004")]


@register
def serializers(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E005: a queue whose jobs would be pickled, which lets whoever writes to Redis run code."""
    return [
        Error(f"The queue {name} has no JSON serializer.", hint="Set SERIALIZER in upper case.", id="maintenance.E005")
        for name, queue in settings.RQ_QUEUES.items()
        if queue.get("SERIALIZER") != "rq.serializers.JSONSerializer"
    ]


@register
def eviction(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E007: a Redis that drops keys when it is full, and with them jobs and events that nobody has read.

    A Redis that is away or does not tell gives no finding: it is no reason not to start.
    """
    if settings.QUEUE_CONNECTION == "sync":
        return []
    try:
        policy = str(broker.quick().info("memory").get("maxmemory_policy", "noeviction"))
    except RedisError:
        return []
    if policy == "noeviction":
        return []
    hint = "Set maxmemory-policy noeviction there; a cache that evicts wants a Redis of its own."
    return [Error(f"Redis evicts keys ({policy}).", hint=hint, id="maintenance.E007")]


@register
def reactions_to_events(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E006: a reaction to an event that there is not, or that is no function."""
    hint = f"REACTIONS maps {', '.join(reactions.Event)} to lists of dotted paths."
    return [Error(text, hint=hint, id="maintenance.E006") for text in reactions.faults()]


@register
def schedule_terms(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E010: a task that can never be fired, or two of one name, which would take each other's slots."""
    tasks = schedule.tasks()
    names = [task.name for task in tasks]
    hint = "SCHEDULE stands at the end of settings.py."
    return [
        Error(f"The scheduled task {task.name}: {wrong}.", hint=hint, id="maintenance.E010")
        for task in tasks
        for wrong in [*schedule.faults(task), *(["its name is not its own"] if names.count(task.name) > 1 else [])]
    ]


@register
def retention(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """maintenance.E011: a retention that would remove what was made just now."""
    return [
        Error(f"{name} is {getattr(settings, name)}.", hint="It must be at least 1.", id="maintenance.E011")
        for name in KEPT
        if getattr(settings, name) < 1
    ]
