"""The shared cache: JSON in the database. Nothing is pickled: a hostile row is no more than a wrong value."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from maintenance.models import CacheEntry


def _alive(now: datetime) -> Q:
    return Q(expires_at__isnull=True) | Q(expires_at__gt=now)


class JSONCache(BaseCache):
    """Holds what JSON can hold: tuples come back as lists, anything else raises TypeError when it is set."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self.get_many([key], version).get(key, default)

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        names = {self.make_and_validate_key(key, version=version): key for key in keys}
        rows = CacheEntry.objects.filter(_alive(timezone.now()), pk__in=list(names))
        return {names[key]: value for key, value in rows.values_list("key", "value")}

    def set(self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        name = self.make_and_validate_key(key, version=version)
        self._sweep()
        CacheEntry.objects.update_or_create(
            key=name, defaults={"value": value, "expires_at": self._expires_at(timeout)}
        )

    def add(self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        name = self.make_and_validate_key(key, version=version)
        self._sweep()
        defaults = {"value": value, "expires_at": self._expires_at(timeout)}
        return CacheEntry.objects.get_or_create(key=name, defaults=defaults)[1]

    def touch(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return bool(self._row(key, version).update(expires_at=self._expires_at(timeout)))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Raises ValueError for a key that is not there. Two callers never get the same number."""
        with transaction.atomic():
            entry = self._row(key, version).select_for_update().first()
            if entry is None:
                raise ValueError(f"Key {key!r} not found")
            number: int = (entry.value or 0) + delta
            entry.value = number
            entry.save(update_fields=["value"])
        return number

    def delete(self, key: str, version: int | None = None) -> bool:
        name = self.make_and_validate_key(key, version=version)
        return bool(CacheEntry.objects.filter(pk=name).delete()[0])

    def has_key(self, key: str, version: int | None = None) -> bool:
        return self._row(key, version).exists()

    def clear(self) -> None:
        CacheEntry.objects.all().delete()

    def _row(self, key: str, version: int | None) -> QuerySet[CacheEntry]:
        name = self.make_and_validate_key(key, version=version)
        return CacheEntry.objects.filter(_alive(timezone.now()), pk=name)

    def _expires_at(self, timeout: float | None) -> datetime | None:
        stamp = self.get_backend_timeout(timeout)
        return None if stamp is None else datetime.fromtimestamp(stamp, tz=timezone.get_default_timezone())

    def _sweep(self) -> None:
        CacheEntry.objects.filter(expires_at__lte=timezone.now()).delete()
