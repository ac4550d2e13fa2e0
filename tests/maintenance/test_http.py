import json
from typing import Any

import pytest
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from maintenance.http import throttles
from maintenance.models import AuditEntry

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.maintenance.probe_urls")]


def rates(**given: str) -> dict[str, str]:
    return {**api_settings.DEFAULT_THROTTLE_RATES, **given}


class TestErrors:
    def test_a_refusal_keeps_its_code_and_what_is_active(self, api: APIClient) -> None:
        answer = api.get("/raises/refusal")
        assert (answer.status_code, answer.json()) == (409, {"message": "Busy.", "code": "run_active", "run_id": 7})

    def test_a_refusal_can_name_fields(self, api: APIClient) -> None:
        answer = api.get("/raises/field")
        assert (answer.status_code, answer.json()["errors"]) == (422, {"name": ["Taken."]})

    def test_a_refusal_for_now_says_when_to_come_back(self, api: APIClient) -> None:
        answer = api.get("/raises/later")
        assert (answer.status_code, answer["Retry-After"]) == (429, "5")

    def test_nested_validation_errors_are_flattened(self, api: APIClient) -> None:
        answer = api.get("/raises/nested")
        assert answer.status_code == 422
        assert answer.json()["code"] == "invalid"
        assert answer.json()["errors"] == {"items.1.name": ["Wrong."], "body": ["Both."]}

    def test_an_error_of_the_whole_body_is_named_body(self, api: APIClient) -> None:
        assert api.get("/raises/text").json()["errors"] == {"body": ["Plain."]}

    @pytest.mark.parametrize(
        ("name", "status", "code"),
        [
            ("http404", 404, "not_found"),
            ("denied", 403, "forbidden"),
            ("suspicious", 400, "malformed"),
            ("bug", 500, "server_error"),
        ],
    )
    def test_no_reason_from_inside_is_shown(self, api: APIClient, name: str, status: int, code: str) -> None:
        answer = api.get(f"/raises/{name}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "secret" not in answer.content.decode()
        assert "Traceback" not in answer.content.decode()

    def test_a_bug_is_logged_with_its_traceback(self, api: APIClient, caplog: pytest.LogCaptureFixture) -> None:
        api.get("/raises/bug")
        assert "ValueError: secret value" in caplog.text

    def test_a_method_that_is_not_there_is_405(self, api: APIClient) -> None:
        for method in ("delete", "options"):
            answer = getattr(api, method)("/echo")
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")

    def test_nobody_is_401_and_told_how_to_sign_in(self, anybody: APIClient) -> None:
        answer = anybody.get("/entries")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer["WWW-Authenticate"] == "Bearer"


class TestBodies:
    def post(self, api: APIClient, body: bytes, kind: str = "application/json") -> Any:
        return api.generic("POST", "/echo", body, content_type=kind)

    @pytest.mark.parametrize("body", [b"{", b"\xff", b'{"a": NaN}', b'{"a": 1e999}', b"[" * 100_000, b""])
    def test_what_is_not_json_is_400(self, api: APIClient, body: bytes) -> None:
        answer = self.post(api, body or b" ")
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")

    def test_what_is_nested_too_deep_is_400(self, api: APIClient) -> None:
        for depth, is_too_deep in ((98, False), (99, True), (900, True)):
            answer = self.post(api, f'{{"data": {{"a": {"[" * depth + "]" * depth}}}}}'.encode())
            assert (answer.status_code == 400) == is_too_deep, depth
        assert self.post(api, b'{"text": "%s"}' % (b"[" * 200)).status_code == 200

    def test_a_form_is_415(self, api: APIClient) -> None:
        assert self.post(api, b"text=hello", "application/x-www-form-urlencoded").status_code == 415

    def test_f51_a_body_over_the_limit_is_413(self, api: APIClient, settings: Any) -> None:
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
        answer = self.post(api, json.dumps({"text": "x" * 1000}).encode())
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert self.post(api, json.dumps({"text": "x" * 900}).encode()).status_code == 200

    def test_a_list_is_not_a_body(self, api: APIClient) -> None:
        assert api.post("/echo", [1]).status_code == 422

    def test_f17_unknown_fields_are_refused_by_name(self, api: APIClient) -> None:
        answer = api.post("/echo", {"text": "a", "title": "b", "frozen": "c"})
        assert answer.status_code == 422
        assert sorted(answer.json()["errors"]) == ["frozen", "title"]

    def test_null_counts_as_absent(self, api: APIClient) -> None:
        answer = api.post("/echo", {"text": None, "title": None, "model": None})
        assert answer.json() == {"got": {}, "warnings": []}

    def test_f17_what_old_clients_send_is_ignored_with_a_warning(self, api: APIClient) -> None:
        answer = api.post("/echo", {"text": "a", "model": "gpt"})
        assert answer.json()["got"] == {"text": "a"}
        assert answer.json()["warnings"] == [{"field": "model", "message": "This field is ignored."}]

    def test_the_empty_list_of_a_php_client_is_an_empty_object(self, api: APIClient) -> None:
        assert api.post("/echo", {"data": []}).json()["got"] == {"data": {}}

    @pytest.mark.parametrize("data", ['{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": "%s"}' % ("x" * 100), "[1]", "3"])
    def test_json_that_cannot_be_stored_is_refused(self, api: APIClient, data: str) -> None:
        answer = self.post(api, f'{{"data": {data}}}'.encode())
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["data"])

    def test_the_letters_of_an_escape_are_just_letters(self, api: APIClient) -> None:
        assert api.post("/echo", {"data": {"a": "\\u0000"}}).json()["got"] == {"data": {"a": "\\u0000"}}


class TestPages:
    @pytest.fixture(autouse=True)
    def _entries(self, db: None) -> None:
        AuditEntry.objects.bulk_create(AuditEntry(verb=f"v{n}", target="t") for n in range(35))

    def test_a_list_has_data_links_and_meta(self, api: APIClient) -> None:
        answer = api.get("/entries?x=1&page=2").json()
        assert [row["verb"] for row in answer["data"]] == [f"v{n}" for n in range(15, 30)]
        assert answer["links"] == {
            "first": "/entries?page=1&x=1",
            "last": "/entries?page=3&x=1",
            "prev": "/entries?page=1&x=1",
            "next": "/entries?page=3&x=1",
        }
        assert answer["meta"] == {"current_page": 2, "per_page": 15, "total": 35, "last_page": 3}

    def test_the_ends_have_no_neighbours(self, api: APIClient) -> None:
        assert api.get("/entries").json()["links"]["prev"] is None
        assert api.get("/entries?page=3").json()["links"]["next"] is None

    def test_a_page_after_the_last_is_empty(self, api: APIClient) -> None:
        answer = api.get("/entries?page=999999999").json()
        assert answer["data"] == []
        assert answer["links"]["prev"] == "/entries?page=3"

    def test_an_empty_list_has_one_page(self, api: APIClient) -> None:
        AuditEntry.objects.all().delete()
        assert api.get("/entries").json()["meta"] == {"current_page": 1, "per_page": 15, "total": 0, "last_page": 1}

    def test_f51_per_page_is_cut(self, api: APIClient) -> None:
        assert api.get("/entries?per_page=100000").json()["meta"]["per_page"] == 100

    @pytest.mark.parametrize(
        "query", ["page=0", "page=-1", "per_page=abc", "per_page=0", "page=1.5", "page=" + "9" * 9999]
    )
    def test_what_is_not_a_page_is_422(self, api: APIClient, query: str) -> None:
        answer = api.get(f"/entries?{query}")
        assert (answer.status_code, list(answer.json()["errors"])) == (422, [query.partition("=")[0]])


class TestThrottles:
    @pytest.fixture
    def tight(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            api_settings, "DEFAULT_THROTTLE_RATES", rates(user="3/min", runs="2/min", login="2/min"), raising=False
        )

    @pytest.mark.usefixtures("tight")
    def test_too_many_requests_are_429_and_told_when_to_come_back(self, api: APIClient) -> None:
        assert [api.get("/entries").status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = api.get("/entries")
        assert answer.json()["code"] == "too_many_requests"
        assert 1 <= int(answer["Retry-After"]) <= 60

    @pytest.mark.usefixtures("tight")
    def test_each_user_is_counted_alone(self, api: APIClient, charlie: Any) -> None:
        for _ in range(4):
            api.get("/entries")
        other = APIClient()
        other.force_authenticate(charlie)
        assert other.get("/entries").status_code == 200

    @pytest.mark.usefixtures("tight")
    def test_new_runs_have_a_rate_of_their_own(self, api: APIClient) -> None:
        assert [api.post("/limited").status_code for _ in range(3)] == [200, 200, 429]

    def attempt(self, email: str, address: str, **headers: str) -> int:
        client = APIClient(REMOTE_ADDR=address, headers=headers)
        return int(client.post("/login-limited", {"email": email}).status_code)

    @pytest.mark.usefixtures("tight")
    def test_f47_attempts_at_one_account_count_from_everywhere(self) -> None:
        tried = [self.attempt(email, f"10.0.0.{n}") for n, email in enumerate(["a@b.c", "A@B.C ", "a@b.c"])]
        assert tried == [200, 200, 429]

    @pytest.mark.usefixtures("tight")
    def test_f47_attempts_from_one_address_count_for_every_account(self) -> None:
        assert [self.attempt(f"{n}@b.c", "10.0.0.1") for n in range(3)] == [200, 200, 429]

    @pytest.mark.usefixtures("tight")
    def test_f47_a_forged_proxy_header_does_not_help(self) -> None:
        tried = [self.attempt(f"{n}@b.c", "10.0.0.1", X_Forwarded_For=f"1.2.3.{n}") for n in range(3)]
        assert tried == [200, 200, 429]

    def test_a_window_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counter = throttles.MemoryCounter()
        now = 100.0
        monkeypatch.setattr(throttles.time, "monotonic", lambda: now)
        assert [counter.hit("k", 60).count for _ in range(2)] == [1, 2]
        now = 160.0
        assert counter.hit("k", 60) == throttles.Window(1, 60.0)

    def test_memory_is_bounded_by_the_keys_of_one_window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counter = throttles.MemoryCounter()
        now = 100.0
        monkeypatch.setattr(throttles.time, "monotonic", lambda: now)
        for n in range(counter.KEYS_MAX):
            counter.hit(str(n), 60)
        now = 200.0
        counter.hit("one more", 60)
        assert len(counter._windows) == 1

    @pytest.mark.parametrize("rate", ["5", "5/x", "many/min", ""])
    def test_a_rate_that_is_none_is_refused(self, rate: str) -> None:
        with pytest.raises(ValueError, match=r"rate|invalid"):
            throttles.parse_rate(rate)
