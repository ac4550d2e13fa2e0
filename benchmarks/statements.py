"""Counting what this process asks its database, in all of its threads."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_OF_TRANSACTIONS = ("BEGIN", "SAVEPOINT", "RELEASE")


class Statements:
    """Made before the threads that it is to hear. `take` gives what was executed since it was last called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: list[str] = []
        connection_created.connect(self._listen)
        connections.close_all()

    def take(self) -> list[str]:
        """Statements in order, but those that begin and end transactions."""
        with self._lock:
            noted, self._noted = self._noted, []
        return noted

    def _listen(self, sender: Any, connection: BaseDatabaseWrapper, **_: Any) -> None:
        connection.execute_wrappers.append(self._note)

    def _note(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(_OF_TRANSACTIONS):
            with self._lock:
                self._noted.append(sql)
        return execute(sql, params, many, context)
