"""The page of tools: kept by administrators, their secrets never shown, tried once."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from conversations import owned_tools, tool_secrets
from conversations.models import Agent, Tool
from maintenance.models import AuditEntry
from models_registry.fakes.http import Server, document

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/tool/"
SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": "string"}}, "required": ["id"]}
KEY = "sk-planted-4919"


@pytest.fixture
def tool(alice: User) -> Tool:
    return owned_tools.create(
        alice,
        {
            "name": "orders_lookup", "description": "Look an order up.", "parameters": SCHEMA, "method": "POST",
            "url": "https://shop.example/orders/{id}", "headers": {"Accept": "application/json"},
            "secret_headers": {"X-Key": KEY, "X-Other": "another-secret"},
        },
    )  # fmt: skip


@pytest.fixture
def shop(tool: Tool, settings: Settings) -> Iterator[Server]:
    """Where the tool's requests go; its answer repeats the key that it was sent."""
    with Server(lambda _received: document(200, {"state": "paid", "key": KEY})) as server:
        settings.OUTBOUND_ALLOWED = [server.url.removeprefix("http://")]
        tool.url = f"{server.url}/orders/{{id}}"
        tool.save()
        yield server


def form(**values: str) -> dict[str, str]:
    filled = {
        "name": "weather", "description": "Tell the weather.", "kind": "user", "parameters": json.dumps(SCHEMA),
        "method": "GET", "url": "https://weather.example/{id}", "headers": "{}", "timeout_seconds": "30",
    }  # fmt: skip
    return {**filled, **values}


def page_of(tool: Tool, tail: str = "change/") -> str:
    return f"{LIST}{tool.pk}/{tail}"


def errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["adminform"].form.errors)


def test_the_list_says_what_each_requests_and_who_uses_it(
    bobs: Client, alice: User, tool: Tool, agent: Agent, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    agent.tools.add(tool)
    owned_tools.create(alice, {"name": "edit", "description": "Edit.", "kind": "client", "parameters": SCHEMA})
    with django_assert_max_num_queries(12):
        page = bobs.get(LIST).content.decode()
    assert "POST https://shop.example/orders/{id}" in page
    assert "Parrot" in page
    assert "alice" in page


def test_a_tool_is_made_with_secrets_that_are_never_shown(bobs: Client, bob: User) -> None:
    filled = form(secret_headers=f"X-Key: {KEY}\r\n\r\nX-Other:b:c ")
    assert bobs.post(f"{LIST}add/", filled).status_code == 302
    tool = Tool.objects.get()
    assert tool.user == bob
    assert tool_secrets.headers(tool) == {"X-Key": KEY, "X-Other": "b:c"}
    page = bobs.get(page_of(tool)).content.decode()
    assert "2 secret headers are stored: X-Key, X-Other." in page
    entry = AuditEntry.objects.get()
    assert (entry.verb, KEY in str(entry.detail)) == ("tool.add", False)
    shown = page + bobs.get(LIST).content.decode() + bobs.get(page_of(tool, "history/")).content.decode()
    assert KEY not in shown
    assert tool.encrypted_headers not in shown


def test_secrets_are_set_and_removed_one_by_one(bobs: Client, tool: Tool) -> None:
    filled = form(name=tool.name, url=tool.url, secret_headers="X-New: n", remove_headers="X-Other")
    assert bobs.post(page_of(tool), filled).status_code == 302
    tool.refresh_from_db()
    assert tool_secrets.headers(tool) == {"X-Key": KEY, "X-New": "n"}
    assert tool.user.username == "alice"
    assert bobs.post(page_of(tool), form(name=tool.name, url=tool.url)).status_code == 302
    tool.refresh_from_db()
    assert tool_secrets.headers(tool) == {"X-Key": KEY, "X-New": "n"}


def test_who_may_edit_a_tool_cannot_send_its_secrets_elsewhere(bobs: Client, tool: Tool) -> None:
    answer = bobs.post(page_of(tool), form(name=tool.name, url="https://bob.example/{id}"))
    assert "given for another address" in errors(answer)["secret_headers"][0]
    tool.refresh_from_db()
    assert tool.url == "https://shop.example/orders/{id}"
    filled = form(name=tool.name, url="https://bob.example/{id}", secret_headers="X-Key: k\r\nX-Other: o")
    assert bobs.post(page_of(tool), filled).status_code == 302


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("name", "two words", "A name has 1 to 64"),
        ("name", "todo_add", "The server has a tool named todo_add itself."),
        ("name", "orders_lookup", "alice has a tool with this name."),
        ("parameters", "{", "Enter a valid JSON."),
        ("parameters", "[]", "Must be an object."),
        ("parameters", '{"type": "colour"}', "This is not a JSON Schema."),
        ("parameters", '{"type": "array"}', "the schema's type must be object"),
        ("url", "https://weather.example/{city}", "{city} is no property of the parameters."),
        ("url", "http://127.0.0.1/{id}", "127.0.0.1"),
        ("url", "", "A tool that is called here needs a URL."),
        ("headers", '{"Host": "elsewhere"}', "The header Host cannot be chosen."),
        ("headers", '["a"]', "Must be an object."),
        ("secret_headers", f"{KEY}", "Line 1 is not of the form X-Key: value."),
        ("secret_headers", f"X-Key: a\nHost: {KEY}", "The header Host cannot be chosen."),
        ("timeout_seconds", "121", "less than or equal to 120"),
    ],
)
def test_a_mistake_is_named_at_its_field(
    signed_in: Callable[[User], Client], alice: User, tool: Tool, field: str, text: str, said: str
) -> None:
    alice.is_staff = alice.is_superuser = True
    alice.save()
    answer = signed_in(alice).post(f"{LIST}add/", form(**{field: text}))
    assert said in " ".join(errors(answer)[field])
    assert KEY not in answer.content.decode()
    assert Tool.objects.count() == 1


def test_a_clients_tool_has_no_request(bobs: Client) -> None:
    assert "so it has no URL" in str(errors(bobs.post(f"{LIST}add/", form(kind="client")))["url"])
    assert bobs.post(f"{LIST}add/", form(kind="client", url="")).status_code == 302
    tool = Tool.objects.get()
    assert 'id="try-tool"' not in bobs.get(page_of(tool)).content.decode()
    assert "its clients make this call" in bobs.post(page_of(tool, "try/"), {"arguments": "{}"}).json()["text"]


def test_what_is_deleted_names_the_agents_that_lose_it(bobs: Client, tool: Tool, agent: Agent) -> None:
    agent.tools.add(tool)
    assert "orders_lookup, which is taken from: Parrot" in bobs.get(page_of(tool, "delete/")).content.decode()
    assert bobs.post(page_of(tool, "delete/"), {"post": "yes"}).status_code == 302
    assert not Tool.objects.exists()
    assert not agent.tools.exists()


def test_the_request_is_shown_before_it_is_made(bobs: Client, tool: Tool) -> None:
    answer = bobs.post(page_of(tool, "preview/"), {"arguments": '{"id": 7, "note": "x y"}'})
    assert answer.json() == {
        "method": "POST", "url": "https://shop.example/orders/7", "body": '{"note": "x y"}',
        "headers": {"Content-Type": "application/json", "Accept": "application/json", "X-Key": "••••••",
                    "X-Other": "••••••"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("{", "not valid JSON"), ("[]", "not a JSON object"), ("{}", "'id' is a required property"),
     ('{"id": "x"}', "'x' is not of type 'integer'")],
)  # fmt: skip
def test_arguments_that_do_not_fit_make_no_request(bobs: Client, tool: Tool, arguments: str, said: str) -> None:
    assert said in bobs.post(page_of(tool, "preview/"), {"arguments": arguments}).json()["error"]
    tried = bobs.post(page_of(tool, "try/"), {"arguments": arguments}).json()
    assert (tried["ok"], said in tried["text"]) == (False, True)


def test_a_tool_is_called_once(bobs: Client, bob: User, tool: Tool, shop: Server) -> None:
    tried = bobs.post(page_of(tool, "try/"), {"arguments": '{"id": 7}'}).json()
    assert tried["ok"]
    assert json.loads(tried["text"]) == {"state": "paid", "key": "[secret]"}
    (received,) = shop.received
    assert (received.path, received.headers["x-key"]) == ("/orders/7", KEY)
    entry = AuditEntry.objects.get(verb="tool.try")
    assert (entry.actor, entry.target, entry.result) == (bob, f"tool:{tool.pk}", "ok")


def test_a_tool_that_fails_says_exactly_why(bobs: Client, tool: Tool) -> None:
    Tool.objects.update(url="http://127.0.0.1:9/{id}")
    tried = bobs.post(page_of(tool, "try/"), {"arguments": '{"id": 7}'}).json()
    assert not tried["ok"]
    assert "127.0.0.1" in tried["text"]
    assert AuditEntry.objects.get(verb="tool.try").result == tried["text"]


def test_roles(with_role: Callable[[str], Client], tool: Tool) -> None:
    for role in ("Viewer", "Operator"):
        client = with_role(role)
        page = client.get(page_of(tool)).content.decode()
        assert "2 secret headers are stored: X-Key, X-Other." in page
        assert 'name="secret_headers"' not in page
        assert 'id="try-call"' not in page
        assert client.post(page_of(tool, "preview/"), {"arguments": '{"id": 7}'}).status_code == 200
        for address in (page_of(tool), page_of(tool, "try/"), page_of(tool, "delete/"), f"{LIST}add/"):
            assert client.post(address, form()).status_code == 403, (role, address)
    administrator = with_role("Administrator")
    assert administrator.post(page_of(tool), form(name="renamed", url=tool.url)).status_code == 302
    assert administrator.post(page_of(tool, "delete/"), {"post": "yes"}).status_code == 302


@pytest.mark.parametrize("tail", ["change/", "preview/", "try/", "delete/"])
def test_staff_without_permission_are_refused_even_their_own(alices: Client, tool: Tool, tail: str) -> None:
    assert alices.get(page_of(tool, tail)).status_code in (403, 405)
    assert alices.post(page_of(tool, tail)).status_code == 403
    assert alices.get(LIST).status_code == 403


@pytest.mark.parametrize("tail", ["preview/", "try/"])
def test_looking_calls_nothing(bobs: Client, tool: Tool, tail: str) -> None:
    assert bobs.get(page_of(tool, tail)).status_code == 405
