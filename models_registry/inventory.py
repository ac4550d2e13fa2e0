"""What is done to the models of a backend: asking for the list anew, deleting one, freeing its memory.

Each leaves a row in the audit, also where it was refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User

from maintenance.access import audit
from maintenance.errors import Refusal
from maintenance.models import Job
from models_registry import catalog, jobs, sync
from models_registry.backends.base import ModelManager
from models_registry.errors import BackendError, ModelNotFound
from models_registry.models import Model

# Permissions: to ask anew and to unload, and to delete.
CHANGE = "models_registry.change_model"
DELETE = "models_registry.delete_model"
# The server of our own model starts beside us.
STARTING = timedelta(seconds=20)


def refresh(backend: str, by: User | None, *, address: str | None = None) -> Job:
    """Have the list of models asked for anew, by a job; one that is under way counts. Raises Refusal, 404."""
    with _noted("backend.refresh", f"backend:{backend}", by, address):
        return ask(catalog.known(backend).name, by)


def ask(backend: str, by: User | None) -> Job:
    """The job that asks this backend for its models: made now, or under way."""
    return jobs.sync_models.tagged(f"backend:{backend}").keyed(_refreshing(backend)).by(by).enqueue(backend=backend)


def catch_up() -> Job | None:
    """At a start: have every backend asked soon, where there is one of which nothing is stored yet. Else None."""
    known = set(Model.objects.order_by().values_list("backend", flat=True).distinct())
    if settings.QUEUE_CONNECTION == "sync" or (known and known.issuperset(catalog.configured())):
        return None
    return jobs.sync_models.keyed("sync_models").after(STARTING).enqueue()


def refreshing(backend: str) -> Job | None:
    """The job that asks this backend for its models, while it has not ended."""
    return Job.objects.filter(unique_key=_refreshing(backend), status__in=Job.UNFINISHED).first()


def delete(backend: str, model: str, by: User | None, *, address: str | None = None) -> None:
    """Remove a model from its server.

    Raises Refusal: 404 unknown, 400 where the backend does not manage its models, 502 where it does not do it.
    """
    with _noted("model.delete", f"model:{backend}/{model}", by, address):
        manager = catalog.manager(backend)
        name = _name(manager, model)
        try:
            manager.delete(name)
        except ModelNotFound:
            sync.forget(manager.name, name)
            raise _unknown(manager.name, model) from None
        except BackendError as error:
            raise _away(error) from error
        sync.forget(manager.name, name)


def unload(backend: str, model: str, by: User | None, *, address: str | None = None) -> None:
    """Free the memory that a model takes. Raises Refusal as `delete`."""
    with _noted("model.unload", f"model:{backend}/{model}", by, address):
        manager = catalog.manager(backend)
        name = _name(manager, model)
        try:
            manager.unload(name)
        except ModelNotFound:
            raise _unknown(manager.name, model) from None
        except BackendError as error:
            raise _away(error) from error
        Model.objects.filter(backend=manager.name, name=name).update(loaded=False, loaded_context_length=0)


@contextmanager
def _noted(verb: str, target: str, by: User | None, address: str | None) -> Iterator[None]:
    result = "failed"
    try:
        yield
        result = "ok"
    except Refusal as refusal:
        result = refusal.message
        raise
    finally:
        audit.record(verb, target, actor=by, address=address, result=result)


def _refreshing(backend: str) -> str:
    return f"sync_models:{backend}"


def _name(manager: ModelManager, model: str) -> str:
    """The name under which the server knows it. Raises Refusal for one that no model can have."""
    try:
        return manager.canonical(model)
    except BackendError as error:
        raise _unknown(manager.name, model) from error


def _unknown(backend: str, model: str) -> Refusal:
    return Refusal(f"{backend} does not have the model {model!r}.", code="not_found", status_code=404)


def _away(error: BackendError) -> Refusal:
    return Refusal(error.message, code=error.code, status_code=502)
