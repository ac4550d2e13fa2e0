"""The reconciler looks every few seconds: it must not read all the runs that ever were."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from conversations import recovery


@pytest.mark.django_db
def test_the_reconciler_finds_runs_by_an_index() -> None:
    plans: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        # Not by `explain()`, which puts the values into the text: with parameters SQLite plans otherwise.
        if sql.startswith("SELECT"):
            found = context["connection"].connection.execute(f"EXPLAIN QUERY PLAN {sql.replace('%s', '?')}", params)
            plans.extend(row[-1] for row in found)
        return execute(sql, params, many, context)

    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL plans by the numbers of rows it has")
    with connection.execute_wrapper(explain):
        recovery.reconcile()
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
