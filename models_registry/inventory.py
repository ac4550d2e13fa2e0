"""What is done to the models of a backend: asking for the list anew, deleting one, freeing its memory."""

from django.contrib.auth.models import User

from maintenance.errors import Refusal
from maintenance.models import Job
from models_registry import catalog, jobs, sync
from models_registry.backends.base import ModelManager
from models_registry.errors import BackendError, ModelNotFound
from models_registry.models import Model


def refresh(backend: str, by: User | None) -> Job:
    """Have the list of models asked for anew, by a job; one that is under way counts. Raises Refusal."""
    name = catalog.known(backend).name
    return jobs.sync_models.tagged(f"backend:{name}").keyed(sync_key(name)).by(by).enqueue(backend=name)


def sync_key(backend: str) -> str:
    """What the job that asks this backend for its models is known by."""
    return f"sync_models:{backend}"


def delete(backend: str, model: str) -> None:
    """Remove a model from its server. Raises Refusal: 404 unknown, 400 not managed, 502 where the server refuses."""
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


def unload(backend: str, model: str) -> None:
    """Free the memory that a model takes. Raises Refusal as `delete`."""
    manager = catalog.manager(backend)
    name = _name(manager, model)
    try:
        manager.unload(name)
    except ModelNotFound:
        raise _unknown(manager.name, model) from None
    except BackendError as error:
        raise _away(error) from error
    Model.objects.filter(backend=manager.name, name=name).update(loaded=False, loaded_context_length=0)


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
