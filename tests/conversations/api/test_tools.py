"""Tools that users keep, and what agents and conversations say of them."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations import system_tools
from conversations.models import Agent, Conversation, Run, Tool
from maintenance.models import IdempotentRequest
from models_registry.fakes.http import Server, document
from tests.conversations.api.conftest import LOOK, ask, of
from tests.conversations.scripts import call, say

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]

TOOLS = "/api/v1/tools"
SECRET = "Bearer-not-for-anybody-7"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": SCHEMA,
    "method": "GET",
    "url": "https://weather.example.org/{city}",
}


def create(api: APIClient, **values: Any) -> Any:
    return api.post(TOOLS, {**WEATHER, **values})


def faults(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.json()
    return sorted(answer.json()["errors"])


class TestKeeping:
    def test_a_tool_is_made_shown_listed_changed_and_deleted(self, api: APIClient, alice: User) -> None:
        made = create(api, headers={"Accept": "text/plain"}).json()
        assert made.items() >= {
            **WEATHER, "kind": "user", "headers": {"Accept": "text/plain"}, "secret_headers": [], "timeout_seconds": 30,
            "is_idempotent": False, "user_id": alice.pk, "warnings": [],
        }.items()  # fmt: skip
        one = f"{TOOLS}/{made['id']}"
        assert api.get(one).json() == made
        assert api.get(TOOLS).json()["data"] == [made]
        changed = api.patch(one, {"timeout_seconds": 120, "is_idempotent": True}).json()
        assert (changed["timeout_seconds"], changed["is_idempotent"], changed["url"]) == (120, True, made["url"])
        assert api.put(one, {"description": "Another."}).json()["name"] == "weather"
        assert api.delete(one).status_code == 204
        assert api.get(one).status_code == 404

    @pytest.mark.parametrize(
        "body", [{"kind": "\ud800"}, {"method": "\udfff"}, {"\ud800": 1}, {"headers": {"\ud800": "a"}}]
    )
    def test_text_that_is_no_unicode_is_refused_in_words(self, api: APIClient, body: dict[str, Any]) -> None:
        answer = api.generic("POST", TOOLS, json.dumps({**WEATHER, **body}), content_type="application/json")
        assert answer.status_code == 422
        assert len(faults(answer)) == 1

    def test_a_name_a_description_and_parameters_are_required(self, api: APIClient) -> None:
        assert faults(api.post(TOOLS, {})) == ["description", "name", "parameters"]

    def test_unknown_fields_are_refused(self, api: APIClient) -> None:
        assert faults(create(api, encrypted_headers="x", user_id=1)) == ["encrypted_headers", "user_id"]

    def test_the_same_key_makes_one(self, api: APIClient) -> None:
        answers = [api.post(TOOLS, WEATHER, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        assert Tool.objects.count() == 1

    @pytest.mark.parametrize("seconds", [0, 121, "soon"])
    def test_the_timeout_is_bounded(self, api: APIClient, seconds: Any) -> None:
        assert faults(create(api, timeout_seconds=seconds)) == ["timeout_seconds"]

    def test_a_clients_tool_has_no_url(self, api: APIClient) -> None:
        assert faults(create(api, kind="client")) == ["url"]
        assert create(api, kind="client", url="").json()["kind"] == "client"

    def test_a_tool_that_is_called_here_has_one(self, api: APIClient) -> None:
        assert faults(create(api, url="")) == ["url"]

    def test_a_tool_that_agents_use_is_deleted_by_force_alone(self, api: APIClient, agent: Agent) -> None:
        number = create(api).json()["id"]
        agent.tools.set([number])
        answer = api.delete(f"{TOOLS}/{number}")
        assert (answer.status_code, answer.json()["code"]) == (409, "tool_in_use")
        assert answer.json()["agents"] == [{"id": agent.pk, "name": "Parrot"}]
        assert api.delete(f"{TOOLS}/{number}?force=1").status_code == 204
        assert not agent.tools.exists()


class TestRules:
    @pytest.mark.parametrize("name", ["", "two words", "é", "a.b", "x" * 65, "a\nb"])
    def test_what_is_no_name_is_422(self, api: APIClient, name: str) -> None:
        assert faults(create(api, name=name)) == ["name"]

    def test_f30_a_name_of_the_servers_own_is_422(self, api: APIClient) -> None:
        for name in system_tools.names():
            answer = create(api, name=name)
            assert faults(answer) == ["name"]
            assert name in answer.json()["errors"]["name"][0]

    def test_f30_two_tools_of_one_owner_have_two_names(self, api: APIClient, stranger: APIClient) -> None:
        create(api)
        assert faults(create(api)) == ["name"]
        other = create(api, name="other").json()["id"]
        assert faults(api.patch(f"{TOOLS}/{other}", {"name": "weather"})) == ["name"]
        assert create(stranger).status_code == 201

    @pytest.mark.parametrize(
        "schema",
        [{}, {"type": "string"}, {"type": "object", "properties": 7}, {"type": "object", "$ref": "https://x.test/s"},
         {"type": "object", "properties": {"a": {"type": "wrong"}}}, "text", [1]],
    )  # fmt: skip
    def test_parameters_describe_an_object(self, api: APIClient, schema: Any) -> None:
        assert "parameters" in faults(create(api, parameters=schema, url="https://x.test/"))

    @pytest.mark.parametrize(
        "url",
        ["ftp://x.test/{city}", "//x.test/", "x.test", "https://{city}.test/", "{city}://x.test/", "http://127.0.0.1/",
         "https://x.test/{town}", "https://x.test/{city", "https://u:p@x.test/", "https://x.test/a b", "http://[::1]/",
         "http://169.254.169.254/latest", "https://x.test:22:22/", "https://x.test/#{city}", "http://0x7f.1/"],
    )  # fmt: skip
    def test_what_no_request_may_be_aimed_at_is_422(self, api: APIClient, url: str) -> None:
        assert faults(create(api, url=url)) == ["url"]

    def test_an_argument_may_stand_in_the_path_and_in_the_query(self, api: APIClient) -> None:
        assert create(api, url="https://x.test:443/a/{city}?q={city}").status_code == 201

    @pytest.mark.parametrize("field", ["headers", "secret_headers"])
    @pytest.mark.parametrize(
        "headers", [{"Host": "x"}, {"Two words": "x"}, {"X": "a\r\nY: b"}, {"X": 7}, {"X": "a", "x": "b"}, {"": "x"}]
    )
    def test_what_is_no_header_is_422(self, api: APIClient, field: str, headers: dict[str, Any]) -> None:
        assert faults(create(api, **{field: headers})) == [field]

    @pytest.mark.parametrize("url", ["https://elsewhere.example/{city}", "http://weather.example.org/{city}",
                                     "https://weather.example.org:8443/{city}"])  # fmt: skip
    def test_a_secret_does_not_go_with_its_tool_to_another_address(self, api: APIClient, url: str) -> None:
        one = f"{TOOLS}/{create(api, secret_headers={'X-Key': SECRET}).json()['id']}"
        assert faults(api.patch(one, {"url": url})) == ["secret_headers"]
        assert faults(api.patch(one, {"url": url, "secret_headers": {"X-Other": "1"}})) == ["secret_headers"]
        # Nor by a detour over a tool that leads nowhere.
        assert api.patch(one, {"url": "", "kind": "client"}).status_code == 200
        assert faults(api.patch(one, {"url": url, "kind": "user"})) == ["secret_headers"]
        assert api.patch(one, {"url": url, "kind": "user", "secret_headers": {"x-key": "new"}}).status_code == 200

    def test_on_its_server_a_tool_moves_with_its_secrets(self, api: APIClient) -> None:
        one = f"{TOOLS}/{create(api, secret_headers={'X-Key': SECRET}).json()['id']}"
        assert api.patch(one, {"url": "https://Weather.example.org/v2/{city}"}).status_code == 200

    def test_a_header_is_plain_or_secret(self, api: APIClient) -> None:
        assert faults(create(api, headers={"x-key": "a"}, secret_headers={"X-Key": SECRET})) == ["secret_headers"]


class TestSecrets:
    def test_they_go_in_and_only_their_names_come_out(self, api: APIClient, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        answers = [
            api.post(TOOLS, {**WEATHER, "secret_headers": {"X-Key": SECRET}}, headers={"Idempotency-Key": "k"}),
            create(api, secret_headers={"X-Key": SECRET}),  # the name is taken
            create(api, name="b", secret_headers={"X-Key": SECRET, "Host": SECRET}),
            create(api, name="c", secret_headers={"X-Key": f"{SECRET}\n"}),
            create(api, name="d", secret_headers=[SECRET]),
        ]
        number = answers[0].json()["id"]
        answers += [api.get(TOOLS), api.get(f"{TOOLS}/{number}"), api.patch(f"{TOOLS}/{number}", {"url": "x"})]
        assert answers[0].json()["secret_headers"] == ["X-Key"]
        assert [answer.status_code for answer in answers] == [201, 422, 422, 422, 422, 200, 200, 422]
        said = "".join(answer.content.decode() for answer in answers) + caplog.text
        said += json.dumps(list(IdempotentRequest.objects.values("answer", "fingerprint")))
        said += json.dumps(list(Tool.objects.values("headers", "encrypted_headers")))
        assert SECRET not in said

    def test_one_is_changed_one_removed_and_the_others_stay(self, api: APIClient) -> None:
        made = create(api, secret_headers={"A": "1", "B": "2", "C": "3"}).json()
        body = api.patch(f"{TOOLS}/{made['id']}", {"secret_headers": {"a": "4", "B": None}}).json()
        assert body["secret_headers"] == ["C", "a"]
        body = api.patch(f"{TOOLS}/{made['id']}", {"secret_headers": {"a": None, "C": None}}).json()
        assert body["secret_headers"] == []
        assert Tool.objects.get().encrypted_headers == ""

    def test_under_another_key_of_the_server_they_are_said_to_be_lost(self, api: APIClient, settings: Any) -> None:
        number = create(api, secret_headers={"A": "1"}).json()["id"]
        settings.SECRET_KEY = "another-one-for-the-rest-of-this-test"
        body = api.get(f"{TOOLS}/{number}").json()
        assert (body["secret_headers"], [one["field"] for one in body["warnings"]]) == ([], ["secret_headers"])
        body = api.patch(f"{TOOLS}/{number}", {"secret_headers": {"A": "2"}}).json()
        assert (body["secret_headers"], body["warnings"]) == (["A"], [])


class TestAgents:
    def test_an_agents_tools_are_its_owners(self, api: APIClient, stranger: APIClient, agent: Agent) -> None:
        own, other = create(api).json()["id"], create(stranger).json()["id"]
        one = f"/api/v1/agents/{agent.pk}"
        assert faults(api.patch(one, {"tool_ids": [own, other]})) == ["tool_ids"]
        assert faults(api.patch(one, {"tool_ids": [own + other]})) == ["tool_ids"]
        body = api.patch(one, {"tool_ids": [own]}).json()
        assert body["tool_ids"] == [own]
        assert body["tools"] == [
            {
                "id": own,
                "name": "weather",
                "description": "The weather of a city.",
                "kind": "user",
                "parameters": SCHEMA,
            }
        ]
        assert api.patch(one, {"description": "x"}).json()["tool_ids"] == [own]
        assert api.patch(one, {"tool_ids": []}).json()["tools"] == []

    def test_f30_a_tool_that_the_server_has_under_its_name_is_refused(self, api: APIClient, agent: Agent) -> None:
        tool = Tool.objects.create(user=agent.user, name="todo_add", kind="client", parameters={"type": "object"})
        answer = api.patch(f"/api/v1/agents/{agent.pk}", {"tool_ids": [tool.pk]})
        assert faults(answer) == ["tool_ids"]
        assert "todo_add" in answer.json()["errors"]["tool_ids"][0]

    def test_system_tools_are_a_list_of_names_or_null_for_all(self, api: APIClient, agent: Agent) -> None:
        one = f"/api/v1/agents/{agent.pk}"
        assert api.get(one).json()["system_tools"] is None
        assert api.patch(one, {"system_tools": ["todo_add"]}).json()["system_tools"] == ["todo_add"]
        assert api.patch(one, {"name": "Parrot"}).json()["system_tools"] == ["todo_add"]
        assert api.patch(one, {"system_tools": None}).json()["system_tools"] is None
        assert faults(api.patch(one, {"system_tools": ["rm"]})) == ["system_tools"]

    def test_approvals_name_tools_and_warn_of_names_that_are_not_known(self, api: APIClient, agent: Agent) -> None:
        one = f"/api/v1/agents/{agent.pk}"
        body = api.patch(one, {"approvals": {"todo_add": "once", "bash": "always"}}).json()
        assert body["approvals"] == {"todo_add": "once", "bash": "always"}
        assert [(found["field"], "bash" in found["message"]) for found in body["warnings"]] == [("approvals", True)]
        body = api.patch(one, {"system_tools": ["todo_list"]}).json()
        assert ["todo_add" in found["message"] for found in body["warnings"]] == [False, True]
        assert faults(api.patch(one, {"approvals": {"todo_add": "maybe"}})) == ["approvals"]
        assert faults(api.patch(one, {"approvals": {"todo_add": ["always"]}})) == ["approvals"]

    def test_the_mode_is_one_of_three(self, api: APIClient, agent: Agent) -> None:
        one = f"/api/v1/agents/{agent.pk}"
        assert api.patch(one, {"tool_mode": "json_schema"}).json()["tool_mode"] == "json_schema"
        assert faults(api.patch(one, {"tool_mode": "xml"})) == ["tool_mode"]


class TestClientTools:
    def opened(self, api: APIClient, agent: Agent, *names: str, **values: Any) -> Any:
        schemas = [{**LOOK, "name": name, **values} for name in names]
        return api.post(f"/api/v1/agents/{agent.pk}/conversations", {"client_tool_schemas": schemas})

    def test_f30_a_name_that_is_taken_is_refused_where_it_stands(self, api: APIClient, agent: Agent) -> None:
        agent.tools.set([create(api).json()["id"]])
        answer = self.opened(api, agent, "look", "todo_add", "weather")
        assert faults(answer) == ["client_tool_schemas.1.name", "client_tool_schemas.2.name"]
        assert not Conversation.objects.exists()
        assert self.opened(api, agent, "look", "bash").status_code == 201

    def test_what_describes_no_object_is_refused(self, api: APIClient, agent: Agent) -> None:
        for schema in ({"type": "array"}, {"$ref": "https://x.test/schema"}):
            assert faults(self.opened(api, agent, "look", parameters=schema)) == ["client_tool_schemas.0.parameters"]

    def test_a_schema_that_leads_nowhere_fails_the_call_and_not_the_run(
        self, api: APIClient, conversation: Conversation, scripted: Agent, transactional_db: None
    ) -> None:
        for target in ("#/$defs/none", "#"):
            conversation.client_tool_schemas = [{**LOOK, "parameters": {"type": "object", "$ref": target}}]
            conversation.save()
            run = ask(api, conversation, [call("look", path="a")], [say("sorry")])
            assert (run.status, run.tool_calls.get().status) == ("completed", "failed")


@pytest.fixture
def echo(settings: Any) -> Iterator[Server]:
    """A server that answers with the headers it was sent."""

    with Server(lambda received: document(200, dict(received.headers))) as server:
        settings.OUTBOUND_ALLOWED = [server.url.removeprefix("http://")]
        yield server


def test_a_secret_header_reaches_its_server_and_nobody_else(
    api: APIClient, conversation: Conversation, scripted: Agent, echo: Server, caplog: pytest.LogCaptureFixture,
    transactional_db: None,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    made = create(api, url=f"{echo.url}/{{city}}", secret_headers={"X-Key": SECRET}).json()
    scripted.tools.set([made["id"]])
    run = ask(api, conversation, [call("weather", city="Xi an")], [say("sunny")])
    assert (run.status, run.tool_calls.get().status) == ("completed", "succeeded")
    assert echo.received[0].headers["x-key"] == SECRET
    assert echo.received[0].path == "/Xi%20an"
    said = "".join(
        api.get(address).content.decode()
        for address in (
            f"/api/v1/conversations/{conversation.pk}",
            of(conversation, "status"),
            f"/api/v1/runs/{run.pk}",
            f"/api/v1/snapshots/{run.snapshot.pk}",
            f"/api/v1/agents/{scripted.pk}",
        )
    )
    assert "[secret]" in said
    assert SECRET not in said + caplog.text
    assert Run.objects.get().status == "completed"


def test_a_server_that_repeats_the_key_alone_tells_it_nobody(
    api: APIClient, conversation: Conversation, scripted: Agent, settings: Any, transactional_db: None
) -> None:
    key = 'k"ey-7-7-7'
    with Server(lambda received: document(403, {"wrong": key, "sent": received.headers["authorization"]})) as server:
        settings.OUTBOUND_ALLOWED = [server.url.removeprefix("http://")]
        number = create(api, url=f"{server.url}/{{city}}", secret_headers={"Authorization": f"Bearer {key}"}).json()[
            "id"
        ]
        scripted.tools.set([number])
        run = ask(api, conversation, [call("weather", city="a")], [say("no")])
    result = run.tool_calls.get().result
    assert result.startswith("Error: HTTP 403")
    assert result.count("[secret]") == 2
    assert "ey-7" not in result


def test_an_argument_leaves_the_path_as_it_is(
    api: APIClient, conversation: Conversation, scripted: Agent, echo: Server, transactional_db: None
) -> None:
    scripted.tools.set([create(api, url=f"{echo.url}/of/{{city}}/now").json()["id"]])
    run = ask(api, conversation, [call("weather", city="..")], [say("no")])
    assert run.tool_calls.get().status == "failed"
    assert not echo.received
