"""What the backends say of their models, stored: the registry of models."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import cast

from django.db import transaction
from django.db.models import Field
from django.utils import timezone

from models_registry import catalog
from models_registry.backends.base import Backend, ModelDetails, ModelManager
from models_registry.errors import BackendError, BackendTimeout, BackendUnreachable, ModelNotFound
from models_registry.models import Model

logger = logging.getLogger(__name__)
COLUMNS = tuple(field.name for field in fields(ModelDetails))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many models a backend has now, and how many of them are new or gone since the last time."""

    models: int
    added: int
    removed: int


def sync(backend_name: str) -> Counts:
    """Store every model that this backend lists, and forget those that it does not list any more.

    Raises Refusal for an unknown name, and BackendError where the backend does not tell: then the rows stay.
    """
    chosen = catalog.known(backend_name)
    backend = catalog.backend(chosen)
    stored = {row.name: row for row in Model.objects.filter(backend=chosen.name)}
    # Asked outside the transaction: a server may take its time.
    listed = {model.name: model for model in _detailed(backend, backend.models(), stored) if _fits(model)}
    _store(chosen.name, listed.values(), timezone.now())
    return Counts(models=len(listed), added=len(listed.keys() - stored), removed=len(stored.keys() - listed))


def forget(backend_name: str, model: str) -> None:
    """The model is not there any more."""
    Model.objects.filter(backend=backend_name, name=model).delete()


def _fits(model: ModelDetails) -> bool:
    return 0 < len(model.name) <= _limit("name")


def _limit(column: str) -> int:
    field = Model._meta.get_field(column)
    return field.max_length if isinstance(field, Field) and field.max_length else 0


def _detailed(backend: Backend, listed: Sequence[ModelDetails], stored: Mapping[str, Model]) -> Iterable[ModelDetails]:
    """The models with what only a question about each one tells. One that did not change is not asked about again."""
    if not backend.capabilities.model_management:
        return listed
    manager = cast(ModelManager, backend)
    return [found for model in listed if (found := _one_detailed(manager, model, stored.get(model.name)))]


def _one_detailed(manager: ModelManager, model: ModelDetails, row: Model | None) -> ModelDetails | None:
    if model.context_length and model.capabilities is not None:
        return model
    if row and row.digest and row.digest == model.digest and row.context_length:
        return _joined(model, context_length=row.context_length, capabilities=row.capabilities)
    try:
        shown = manager.show(model.name)
    except ModelNotFound:
        return None  # deleted since it was listed
    except (BackendUnreachable, BackendTimeout):
        raise  # the others would not be told either
    except BackendError as error:
        logger.warning("%s does not tell of its model %s: %s", manager.name, model.name, error.message)
        known = row and row.digest == model.digest
        return _joined(
            model,
            context_length=row.context_length if row and known else 0,
            capabilities=row.capabilities if row and known else None,
        )
    return _joined(model, context_length=shown.context_length, capabilities=shown.capabilities)


def _joined(model: ModelDetails, *, context_length: int, capabilities: Sequence[str] | None) -> ModelDetails:
    told = model.capabilities if model.capabilities is not None else capabilities
    return replace(model, context_length=model.context_length or context_length, capabilities=told)


@transaction.atomic
def _store(backend: str, models: Iterable[ModelDetails], now: datetime) -> None:
    rows = [_row(backend, model, now) for model in models]
    Model.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["backend", "name"],
        update_fields=[*(name for name in COLUMNS if name != "name"), "synced_at"],
    )
    Model.objects.filter(backend=backend).exclude(name__in=[row.name for row in rows]).delete()


def _row(backend: str, model: ModelDetails, now: datetime) -> Model:
    values = asdict(model)
    for name in ("family", "parameter_size", "quantisation", "digest"):
        values[name] = values[name][: _limit(name)]
    values["capabilities"] = None if model.capabilities is None else list(model.capabilities)
    return Model(backend=backend, synced_at=now, **values)
