"""`/health/live`: the process answers. `/health/ready`: it can take posts; what else is wrong makes it `degraded`.

Work that is accepted while Redis or the workers are away is kept in the ledger and done later, so their absence never
makes the server refuse to be used.
"""

from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from maintenance import broker, roster
from maintenance.models import Job
from maintenance.tables import Queue

OK = "ok"


class Migrations:
    """Whether all are applied. Once they are, they stay so while this process lives."""

    def __init__(self) -> None:
        self._seen_applied = False

    def applied(self) -> bool:
        if not self._seen_applied:
            executor = MigrationExecutor(connection)
            self._seen_applied = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        return self._seen_applied


_migrations = Migrations()


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": OK})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """200 `ok` or `degraded`, 503 `starting` or `unavailable`; `checks` says what was found."""
    checks = _necessary()
    if any(found != OK for found in checks.values()):
        return JsonResponse({"status": "unavailable", "checks": checks}, status=503)
    if _starting():
        return JsonResponse({"status": "starting", "checks": checks}, status=503)
    checks |= _desirable()
    status = OK if all(found == OK for found in checks.values()) else "degraded"
    return JsonResponse({"status": status, "checks": checks})


def _starting() -> bool:
    return bool(settings.STACK_READY_FILE) and not Path(settings.STACK_READY_FILE).exists()


def _necessary() -> dict[str, str]:
    try:
        applied = _migrations.applied()
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return {"database": "does not answer"}
    return {"database": OK, "migrations": OK if applied else "not all are applied"}


def _desirable() -> dict[str, str]:
    if settings.QUEUE_CONNECTION == "sync":
        return {}
    return {**_redis(), "queues": _queues()}


def _redis() -> dict[str, str]:
    try:
        broker.quick().ping()
        served = roster.by_queue(roster.alive())
    except RedisError:
        # Without Redis nobody can tell whether there are workers.
        return {"redis": "does not answer", "workers": "not known"}
    idle = [name for name in broker.queue_names() if not served[name]]
    return {"redis": OK, "workers": f"none for {', '.join(idle)}" if idle else OK}


def _queues() -> str:
    now = timezone.now()
    late = [
        f"{name} for {seconds} s"
        for name, since in _oldest().items()
        if (seconds := int((now - since).total_seconds())) > settings.QUEUE_WAIT_MAX_SECONDS[Queue(name)]
    ]
    return f"waiting: {', '.join(late)}" if late else OK


def _oldest() -> dict[str, datetime]:
    waiting = Job.objects.filter(status__in=[Job.Status.PENDING, Job.Status.QUEUED], queue__in=broker.queue_names())
    return dict(waiting.order_by().values_list("queue").annotate(since=Min("created_at")))
