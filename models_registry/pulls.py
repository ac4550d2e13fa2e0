"""The verbs on pulls: start, cancel, retry. View, console and command call these; none holds a rule of its own."""

import re

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from maintenance import ledger
from maintenance.errors import Invalid, Refusal
from maintenance.models import Job
from models_registry import catalog, jobs
from models_registry.backends.base import ModelManager
from models_registry.errors import BackendError
from models_registry.models import Pull

Status = Pull.Status
NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,255}")
RULE = "A name has letters, digits and _ . : / - only, at most 255 of them."


def start(backend: str, model: str, by: User | None) -> tuple[Pull, bool]:
    """Have a worker pull a model. The second value is False where it is being pulled already: then that pull.

    Raises Refusal: 422 for a name that no model has, 404 for an unknown backend, 400 `no_model_management` for one that
    cannot pull, 409 `no_queue` where there are no workers.
    """
    manager = catalog.manager(backend)
    name = _name(manager, model)
    if settings.QUEUE_CONNECTION == "sync":
        raise Refusal(
            "A pull takes long and needs a worker; with QUEUE_CONNECTION=sync there is none.", code="no_queue"
        )
    return jobs.begin_pull(manager.name, name, by)


def _name(manager: ModelManager, model: str) -> str:
    if not NAME.fullmatch(model):
        raise Invalid(RULE, errors={"model": [RULE]})
    try:
        name = manager.canonical(model)
    except BackendError as error:
        raise Invalid(error.message, errors={"model": [error.message]}) from error
    if not NAME.fullmatch(name):
        raise Invalid(RULE, errors={"model": [RULE]})
    return name


def cancel(pull: Pull, by: User | None) -> Pull:
    """At once where no worker has it, else by asking the worker that does. Doing it again changes nothing."""
    with transaction.atomic():
        # The job first, as everywhere: whoever ends an execution has its row locked when it comes to the pull.
        if not (pull.job_id and Job.objects.filter(pk=pull.job_id).exists() and ledger.cancel(pull.job_id, by=by)):
            jobs.cancel_pull(pull_id=pull.pk)
    pull.refresh_from_db()
    return pull


def retry(pull: Pull, by: User | None) -> tuple[Pull, bool]:
    """Pull the same model again, which goes on with what its server kept. Raises Refusal where it has not ended."""
    if pull.status not in (Status.FAILED, Status.CANCELLED):
        raise Refusal(f"The pull is {pull.status}; only a failed or cancelled one can be retried.", code="not_ended")
    return start(pull.backend, pull.model, by)
