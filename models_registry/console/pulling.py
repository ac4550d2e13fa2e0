"""What an operator does with pulls: the permission it needs, the row it leaves in the audit; and what pages show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from maintenance.access import audit
from maintenance.console.operators import operator
from maintenance.errors import Refusal
from models_registry import catalog, drivers, pulls, sight
from models_registry.models import Pull

SHOWN = 20
NEXT_STEPS = {
    "disk_full": "Free space where the server keeps its models, then retry: what is there already is kept.",
    "model_not_found": "Look the name up in the server's registry, and start another pull.",
    "backend_unreachable": "See that the backend's server runs and can be reached from here, then retry.",
    "backend_misconfigured": "Look at the backend's settings, then retry.",
    "unauthorized": "The registry wants an account for this model: sign the server in, then retry.",
    "pull_stalled": "The server's own connection may be slow or broken. Retry: it goes on with what it has.",
    "stream_ended": "The server may have been restarted. Retry: it goes on with what it has.",
    "worker_lost": "See what ended the workers in their log, then retry: it goes on with what is there.",
    "still_downloading": "Where nobody else there pulls it, restart the server; what it has of the model is kept.",
    "stop_not_verified": "See at the server whether it still downloads.",
    "timeout": "The model is large or the line slow. Retry: it goes on with what is there.",
}


@dataclass(frozen=True)
class Panel:
    """Pulls under way, and the backends that one can be started at: what `console/pulls.html` shows."""

    pulls: Sequence[Pull]
    backends: Sequence[str]
    may_pull: bool


def panel(request: HttpRequest, backend: str = "") -> Panel:
    """Of all backends, or of one."""
    under_way = Pull.objects.filter(status__in=Pull.UNFINISHED)
    if backend:
        under_way = under_way.filter(backend=backend)
    able = [
        name for name, chosen in catalog.configured().items() if drivers.backend(chosen).capabilities.model_management
    ]
    return Panel(
        pulls=list(under_way.order_by("id")[:SHOWN]),
        backends=[name for name in able if not backend or name == backend],
        may_pull=request.user.has_perm(sight.PULL),
    )


def next_step(pull: Pull) -> str:
    return NEXT_STEPS.get(pull.error_code, "Retry it once the cause is mended: it goes on with what is there.")


def start(request: HttpRequest) -> Pull | None:
    """What the form asks for; None where it was refused, which the operator is told. Raises PermissionDenied."""
    backend, model = request.POST.get("backend", ""), request.POST.get("model", "").strip()
    return _act(
        request, "pull.start", sight.PULL, lambda: _started(request, pulls.start(backend, model, operator(request)))
    )


def retry(request: HttpRequest, pull: Pull) -> Pull | None:
    return _act(request, "pull.retry", sight.PULL, lambda: _started(request, pulls.retry(pull, operator(request))))


def cancel(request: HttpRequest, pull: Pull) -> Pull | None:
    return _act(request, "pull.cancel", sight.CANCEL, lambda: _cancelled(request, pull))


def _started(request: HttpRequest, begun: tuple[Pull, bool]) -> Pull:
    pull, created = begun
    messages.success(request, f"The model {pull.model} is being pulled{'' if created else ' already'}.")
    return pull


def _cancelled(request: HttpRequest, pull: Pull) -> Pull:
    before = pull.status
    pull = pulls.cancel(pull, operator(request))
    words = {Pull.Status.CANCELLED: "The pull was cancelled.", Pull.Status.CANCELLING: "The pull is being cancelled."}
    messages.success(request, words.get(Pull.Status(pull.status), f"The pull has ended already: it is {before}."))
    return pull


def _act(request: HttpRequest, verb: str, permission: str, act: Callable[[], Pull]) -> Pull | None:
    if not request.user.has_perm(permission):
        raise PermissionDenied
    who, address = operator(request), audit.address_of(request)
    try:
        pull = act()
    except Refusal as refusal:
        messages.error(request, refusal.message)
        detail = {"model": request.POST.get("model", "")[:255]}
        audit.record(verb, "pulls", actor=who, address=address, result=refusal.message, detail=detail)
        return None
    detail = {"backend": pull.backend, "model": pull.model}
    audit.record(verb, f"pull:{pull.pk}", actor=who, address=address, detail=detail)
    return pull
