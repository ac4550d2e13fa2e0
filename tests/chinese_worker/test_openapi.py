import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator
from openapi_spec_validator import validate

from maintenance.access.scopes import Scope
from tests.source import ROOT, rows

SERVING = {"/api/v1/schema", "/api/v1/docs"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(SchemaGenerator().get_schema(request=None, public=True))  # type: ignore[no-untyped-call]


def routes(patterns: Iterable[Any], prefix: str = "/") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield prefix + str(pattern.pattern)


def bare(path: str) -> str:
    """The path with its parameters' names and types left out."""
    return re.sub(r"[<{][^>}]+[>}]", "<>", path)


def test_it_is_made_without_warnings(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", file=str(tmp_path / "schema.yml"))


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_every_route_of_the_api_is_in_it(document: dict[str, Any]) -> None:
    ours = {bare(route) for route in routes(get_resolver().url_patterns) if route.startswith("/api/v1/")}
    assert len(ours) > 20
    assert ours - {bare(path) for path in document["paths"]} == SERVING


def test_the_event_stream_is_in_it(document: dict[str, Any]) -> None:
    assert "get" in document["paths"]["/api/v1/conversations/{id}/stream"]


def test_every_operation_tells_what_errors_look_like(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all("default" in operation["responses"] for operation in operations)
    assert document["components"]["schemas"]["Error"]["required"] == ["message", "code"]


def test_signing_in_needs_no_token_and_all_else_does(document: dict[str, Any]) -> None:
    open_ones = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if {} in operation.get("security", [{}]) or not operation.get("security")
    }
    assert open_ones == {"/api/v1/auth/login", "/api/v1/auth/register"}


def test_the_guide_names_every_operation(document: dict[str, Any]) -> None:
    served = {f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations}
    guided = set()
    for first, *_ in rows(ROOT / "docs" / "api.md", "Addresses"):
        *methods, last = re.findall(r"`([^`]+)`", first)
        method, path = last.split(" ")
        guided |= {f"{name} {path}" for name in (*methods, method)}
    assert guided == served


def test_the_guide_names_every_scope() -> None:
    assert [row[0].strip("`") for row in rows(ROOT / "docs" / "api.md", "Signing in")] == [
        scope.value for scope in Scope
    ]
