"""django-rq's dashboard inside the console: its addresses and templates, over views that are safe to open.

django-rq's own views let any staff user change queues behind the ledger's back, run RQ's clean-up of abandoned jobs
in the web process while counting, answer 500 for an unknown id and follow a redirect to anywhere. So each of its
addresses is answered by a view of ours (`pages`, `changes`), behind the console's permissions. An address that a
newer django-rq adds is refused until it has one.
"""

from collections.abc import Callable
from typing import Any, cast

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.cache import never_cache
from django_rq.urls import get_admin_urlpatterns, get_api_urlpatterns
from redis.exceptions import RedisError

from chinese_worker.rq_dashboard import changes, pages
from chinese_worker.rq_dashboard.answers import redis_away, refused
from chinese_worker.rq_dashboard.reading import QUEUES_PERMISSION

# Answers the requests to django-rq's address of this name.
VIEWS: dict[str, Callable[..., HttpResponse]] = {
    "home": pages.home,
    "home_json": pages.numbers,
    "queue_details": pages.queue,
    "jobs": pages.waiting,
    "started_jobs": pages.started,
    "finished_jobs": pages.finished,
    "failed_jobs": pages.failed,
    "scheduled_jobs": pages.scheduled,
    "deferred_jobs": pages.deferred,
    "job_detail": pages.job,
    "result_detail": pages.result,
    "workers": pages.workers,
    "worker_details": pages.worker,
    "scheduler_jobs": pages.unused,
    "cron_scheduler_detail": pages.unused,
    "cron_job_detail": pages.unused,
    "metrics": pages.unused,
    "requeue_job": changes.requeue,
    "stop_job": changes.stop,
    "confirm_action": changes.confirm,
    "actions": changes.act,
    "enqueue_job": changes.no_enqueue,
    "delete_job": changes.no_delete,
    "delete_failed_jobs": changes.no_delete,
    "clear": changes.no_clear,
    "requeue_all": changes.no_requeue_all,
}


def urls(site: AdminSite) -> list[URLResolver]:
    """django-rq's addresses below `django-rq/`, named as its templates expect them inside an admin."""
    theirs: list[URLPattern] = [*get_api_urlpatterns(), *get_admin_urlpatterns()]
    ours = [URLPattern(one.pattern, _guarded(site, one.name), name=f"django_rq_{one.name}") for one in theirs]
    return [path("django-rq/", include(ours))]


def _guarded(site: AdminSite, name: str | None) -> Callable[..., HttpResponse]:
    answer: Callable[..., HttpResponse] = VIEWS.get(name or "", _unknown)

    def view(request: HttpRequest, **arguments: Any) -> HttpResponse:
        if not request.user.has_perm(QUEUES_PERMISSION):
            raise PermissionDenied
        request.current_app = site.name
        try:
            return answer(request, **arguments)
        except RedisError:
            return redis_away(request)

    return cast(Callable[..., HttpResponse], site.admin_view(never_cache(view)))


def _unknown(request: HttpRequest, **_: Any) -> HttpResponse:
    return refused(request, "This page of django-rq is not part of the console.")
