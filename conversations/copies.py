"""Copying a row, whatever columns it has."""

from typing import Any, TypeVar

from django.db.models import Model

M = TypeVar("M", bound=Model)


def copy_of(row: M, **changes: Any) -> M:
    """Another row with the same values but for `changes`. It is not saved."""
    columns = {
        field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields if not field.primary_key
    }
    return type(row)(**{**columns, **changes})
