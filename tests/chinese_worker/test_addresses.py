from typing import Any

import pytest
from django.test import Client
from django.urls import path
from rest_framework.test import APIClient

from chinese_worker import urls

pytestmark = pytest.mark.django_db


def broken(request: Any) -> None:
    raise ValueError("a secret value")


urlpatterns = [path("api/broken", broken), path("broken", broken), *urls.urlpatterns]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@pytest.mark.parametrize("where", ["/api/v1/nothing", "/api/", "/api/v2/agents", "/health/", "/api/v1/agents/x/y/"])
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("debug", [True, False])
def test_an_unknown_address_of_the_api_is_404_in_json(settings: Any, where: str, method: str, debug: bool) -> None:
    settings.DEBUG = debug
    answer = getattr(Client(enforce_csrf_checks=True), method)(where)
    assert answer.status_code == 404
    assert answer.json() == {"message": "There is no such thing here.", "code": "not_found"}


def test_other_unknown_addresses_get_a_page(client: Client) -> None:
    answer = client.get("/nothing")
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize("tail", ["", "/"])
def test_a_slash_at_the_end_makes_no_difference(api: APIClient, tail: str) -> None:
    assert api.get(f"/api/v1/agents{tail}").status_code == 200
    assert api.post(f"/api/v1/agents{tail}", {"name": "A"}).status_code == 201
    assert api.get(f"/health/live{tail}").status_code == 200
    assert api.get(f"/api/v1/schema{tail}").status_code == 200
    assert api.get(f"/api/v1/docs{tail}", headers={"Accept": "text/html"}).status_code == 200


@pytest.mark.urls("tests.chinese_worker.test_addresses")
class TestFailures:
    def test_a_bug_outside_the_views_is_json_without_a_reason(self) -> None:
        client = Client(raise_request_exception=False)
        answer = client.get("/api/broken")
        assert (answer.status_code, answer.json()["code"]) == (500, "server_error")
        assert "secret" not in answer.content.decode()

    def test_elsewhere_it_is_a_page(self) -> None:
        answer = Client(raise_request_exception=False).get("/broken")
        assert (answer.status_code, answer["Content-Type"]) == (500, "text/html; charset=utf-8")

    def test_a_host_that_is_not_allowed_is_400(self, client: Client) -> None:
        answer = client.get("/api/v1/agents", headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


class TestDocs:
    def test_the_page_has_no_script_or_style_of_its_own(self, client: Client) -> None:
        answer = client.get("/api/v1/docs/", headers={"Accept": "text/html"})
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "default-src 'self'" in answer["Content-Security-Policy"]
        assert "<style" not in page
        assert "<script>" not in page
        assert 'src="/static/drf_spectacular_sidecar/' in page
        assert "//" not in page.replace("<!DOCTYPE", "")

    def test_its_script_is_served_by_us(self, client: Client) -> None:
        answer = client.get("/api/v1/docs/?script=", headers={"Accept": "*/*"})
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/javascript")
        assert '"/api/v1/schema"' in answer.content.decode()

    def test_the_document_is_json_unless_yaml_is_asked_for(self, client: Client) -> None:
        assert client.get("/api/v1/schema/").json()["openapi"].startswith("3.")
        yaml = client.get("/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi"})
        assert yaml.content.startswith(b"openapi: 3.")


def test_health_needs_no_account(client: Client) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}
