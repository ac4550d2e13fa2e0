"""Tool calls, answers and approvals, as operators see them happen."""

import json
import re

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Page, expect

from conversations import runs, stream
from conversations.models import Agent, Conversation, Run, TodoItem, ToolCall
from tests.acceptance.conftest import Workers
from tests.browser.conftest import OpenScreen, Server
from tests.conversations.scripts import call, say, turns
from tests.waiting import eventually

LOOK = {"name": "look", "description": "Look at a file.", "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}  # fmt: skip


@pytest.fixture
def talk(conversation: Conversation) -> Conversation:
    """With a scripted model, a tool of the client's, and one of the server's that wants approval."""
    agent = conversation.agent
    agent.model_config, agent.approvals = {"model": "script"}, {"todo_add": "always"}
    agent.save()
    conversation.client_tool_schemas = [LOOK]
    conversation.save()
    return conversation


@pytest.fixture
def viewer(charlie: User) -> User:
    charlie.is_staff = True
    charlie.save()
    charlie.groups.add(Group.objects.get(name="Viewer"))
    return charlie


def page_of(conversation: Conversation) -> str:
    return f"/admin/conversations/conversation/{conversation.pk}/change/"


def send(page: Page, text: str) -> None:
    page.fill("#composer textarea", text)
    page.click("#composer button")


def test_a_clients_call_is_answered_while_the_stream_runs(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation
) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(talk))
    send(page, turns([say("Let me look."), call("look", path="README")], [say("It is a readme.")]))
    card = page.locator(".ask")
    expect(card).to_contain_text("README")
    expect(page.locator("#liveness")).to_have_text("Live")
    expect(page.locator("#busy")).to_be_visible()
    screen.shot("call-wanted")
    card.locator("textarea").fill("# Title\nof the file")
    card.locator("button:has-text('Send result')").click()
    expect(card).to_have_count(0)
    expect(page.locator(".bubble-assistant > .bubble-text").last).to_have_text("It is a readme.")
    expect(page.locator("#runs .badge")).to_have_text("completed")
    page.click(".call summary")
    expect(page.locator(".call")).to_contain_text("Result, by bob")
    expect(page.locator(".call pre").last).to_have_text("# Title\nof the file")
    assert ToolCall.objects.get().result == "# Title\nof the file"
    screen.shot("call-answered")


def test_a_call_is_approved_with_other_arguments_and_another_denied(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation
) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(talk))
    send(page, turns([call("todo_add", item="tea"), call("todo_add", item="rum")], [say("done")]))
    cards = page.locator(".ask")
    expect(cards).to_have_count(2)
    cards.nth(1).locator("input[name=reason]").fill("No alcohol.")
    cards.nth(0).locator("textarea").fill("{nonsense")
    cards.nth(0).locator("button:has-text('Approve')").click()
    expect(page.locator("#notice")).to_contain_text("not valid JSON")
    expect(cards.nth(0).locator("textarea")).to_have_value("{nonsense")
    screen.shot("approval-mistake")
    screen.complaints.clear()  # Chromium notes the refusal
    cards.nth(0).locator("textarea").fill(json.dumps({"item": "green tea"}))
    cards.nth(0).locator("button:has-text('Approve')").click()
    expect(cards).to_have_count(1)
    expect(cards.locator("input[name=reason]")).to_have_value("No alcohol.")  # what was typed stays
    cards.locator("button:has-text('Deny')").click()
    expect(cards).to_have_count(0)
    expect(page.locator(".bubble-assistant > .bubble-text").last).to_have_text("done")
    expect(page.locator("#todo li")).to_have_text(["☐ green tea"])
    assert TodoItem.objects.get().item == "green tea"
    page.locator(".call summary").first.click()
    expect(page.locator(".call").first).to_contain_text("The model asked with")
    expect(page.locator(".call").last).to_contain_text("refused")
    screen.shot("approval-done")


def test_approved_as_they_are_arguments_are_not_rounded_by_the_browser(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation
) -> None:
    talk.agent.approvals = {"todo_complete": "always"}
    talk.agent.save()
    page = screen_of(bob).page
    page.goto(page_of(talk))
    send(page, turns([call("todo_complete", id=12345678901234567891)], [say("done")]))
    page.locator(".ask button:has-text('Approve')").click()
    expect(page.locator(".bubble-assistant > .bubble-text").last).to_have_text("done")
    made = ToolCall.objects.get()
    assert (made.arguments, made.asked_arguments) == ({"id": 12345678901234567891}, None)


def test_an_answer_on_one_page_takes_the_form_from_the_other(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation
) -> None:
    first, second = screen_of(bob), screen_of(bob)
    for one in (first, second):
        one.page.goto(page_of(talk))
        expect(one.page.locator("#liveness")).to_have_text("Idle")
    send(first.page, turns([call("todo_add", item="tea"), call("look", path="a")], [say("done")]))
    for one in (first, second):
        expect(one.page.locator(".ask")).to_have_count(1)
    first.page.click(".ask button:has-text('Approve')")
    for one in (first, second):
        expect(one.page.locator(".ask h2")).to_have_text("The client is to answer: look")
    second.page.fill(".ask textarea", "seen")
    second.page.click(".ask button:has-text('Send result')")
    for one in (first, second):
        expect(one.page.locator(".ask")).to_have_count(0)
        expect(one.page.locator("#runs .badge")).to_have_text("completed")


def test_whoever_may_only_look_sees_no_form(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation, viewer: User
) -> None:
    page = screen_of(bob).page
    page.goto(page_of(talk))
    send(page, turns([call("look", path="a")], [say("done")]))
    expect(page.locator(".ask")).to_have_count(1)
    looking = screen_of(viewer).page
    looking.goto(page_of(talk))
    expect(looking.locator(".ask")).to_contain_text('"path": "a"')
    expect(looking.locator(".ask button, .ask textarea")).to_have_count(0)


def test_a_message_interrupts_a_run_that_waits(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation
) -> None:
    page = screen_of(bob).page
    page.goto(page_of(talk))
    send(page, turns([call("look", path="a")], [say("never")]))
    expect(page.locator(".ask")).to_have_count(1)
    page.select_option("#busy select", "interrupt")
    send(page, turns([say("Something else.")]))
    expect(page.locator(".bubble-assistant > .bubble-text").last).to_have_text("Something else.")
    expect(page.locator(".ask")).to_have_count(0)
    expect(page.locator("#busy")).to_be_hidden()
    assert sorted(Run.objects.values_list("status", flat=True)) == ["cancelled", "completed"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1400, "dark")])
def test_it_fits_a_phone_and_the_dark(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation, width: int, scheme: str
) -> None:
    screen = screen_of(bob, width=width, height=900, scheme=scheme)
    page = screen.page
    page.goto(page_of(talk))
    send(page, turns([call("todo_add", item="tea " * 60), call("look", path="x" * 200)], [say("done")]))
    expect(page.locator(".ask")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    screen.shot(f"approval-{scheme}-{width}")
    page.click(".ask button:has-text('Approve')")
    expect(page.locator(".ask h2")).to_have_text(re.compile("look"))
    page.locator(".call summary").first.click()
    page.locator("#runs details summary").click()
    Agent.objects.update(name="Cockatoo")
    page.locator("#runs details summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    screen.shot(f"call-{scheme}-{width}")


def test_a_snapshot_stands_beside_the_agent_as_it_is(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation
) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(talk))
    send(page, turns([say("Hello.")]))
    expect(page.locator("#runs .badge")).to_have_text("completed")
    Agent.objects.update(name="Cockatoo")
    page.locator("#runs details summary").click()
    expect(page.locator(".changes")).to_contain_text("+You are Cockatoo.")
    expect(page.locator(".diff-gone").last).to_have_text("-You are Parrot.")
    page.locator(".changes").scroll_into_view_if_needed()
    screen.shot("snapshot-changes")


def test_a_conversation_is_forked_regenerated_and_replayed(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation
) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(conversation))
    send(page, "One")
    expect(page.locator("#runs .badge")).to_have_text("completed")
    page.click("#runs button:has-text('Regenerate')")
    expect(page.locator("#runs .badge-completed")).to_have_count(2)
    page.locator("#runs details summary").first.click()
    page.select_option(".replay select", "fake")
    page.fill(".replay input", "slow")
    screen.shot("conversation-replay")
    page.click(".replay button")
    expect(page.locator(".facts-line")).to_contain_text("forked from Conversation")
    replayed = Run.objects.latest("pk")
    expect(page).to_have_url(re.compile(page_of(replayed.conversation)))
    expect(page.locator("#runs .badge-completed")).to_have_count(1)
    assert replayed.snapshot.model == "slow"

    page.goto(page_of(conversation))
    page.click(".bubble-user .fork")
    expect(page.locator(".facts-line")).to_contain_text("forked from Conversation")
    expect(page.locator(".bubble")).to_have_count(1)
    send(page, "Two")
    expect(page.locator(".bubble-assistant > .bubble-text")).to_contain_text("Two")


def test_a_tool_is_made_tried_and_given_to_an_agent(
    screen_of: OpenScreen, fresh_server: Server, bob: User, talk: Conversation
) -> None:
    Agent.objects.update(user=bob)
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/conversations/tool/add/")
    page.fill("#id_name", "orders_lookup")
    page.fill("#id_description", "Look an order up.")
    page.fill("#id_parameters", '{"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}')
    page.fill("#id_url", "https://127.0.0.1/orders/{id}")
    page.fill("#id_secret_headers", "X-Key: sk-planted")
    page.click("input[name=_continue]")
    expect(page.locator(".field-url .errorlist")).to_contain_text("127.0.0.1")
    expect(page.locator("#id_secret_headers")).to_have_value("")
    screen.shot("tool-mistake")
    page.fill("#id_url", "http://shop.invalid/orders/{id}")
    page.fill("#id_secret_headers", "X-Key: sk-planted")
    page.click("input[name=_continue]")
    expect(page.locator(".field-secret_headers .help")).to_contain_text("1 secret header is stored: X-Key.")
    expect(page.locator("#try-request")).to_contain_text("POST http://shop.invalid/orders/0")
    page.fill("#try-arguments", '{"id": 4919}')
    expect(page.locator("#try-request")).to_contain_text("/orders/4919")
    expect(page.locator("#try-request")).to_contain_text("X-Key: ••••••")
    page.click("#try-call")
    expect(page.locator("#try-result")).to_contain_text("Error:")
    expect(page.locator("#try-took")).to_contain_text("Failed in")
    page.locator("#try-tool").scroll_into_view_if_needed()
    screen.shot("tool-tried")

    page.goto(f"/admin/conversations/agent/{talk.agent_id}/change/")
    page.check("label:has-text('orders_lookup') input[type=checkbox]")
    page.select_option("select[name=approvals-of-orders_lookup]", "once")
    page.locator("select[name=approvals-other-term]").scroll_into_view_if_needed()
    screen.shot("agent-tools")
    page.click("input[name=_continue]")
    expect(page.locator("#offered")).to_contain_text("orders_lookup")
    expect(page.locator("#offered")).to_contain_text("once in a conversation")
    page.locator("#offered").scroll_into_view_if_needed()
    screen.shot("agent-offered")


def test_what_waits_is_found_from_the_overview(
    screen_of: OpenScreen, workers: Workers, bob: User, talk: Conversation
) -> None:
    runs.start(talk, turns([call("todo_add", item="tea")], [say("done")]))
    eventually(lambda: Run.objects.get().status == "waiting_for_tool")
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/")
    screen.shot("overview-waiting")
    page.click(".figure:has-text('Waiting runs')")
    expect(page.locator("tbody tr")).to_contain_text(["todo_add"])
    screen.shot("waiting")
    page.click("nav.tabs a:has-text('Client')")
    expect(page.locator(".card.empty")).to_contain_text("None of this kind")
    page.click("nav.tabs a:has-text('Approval')")
    page.click("tbody a:has-text('Answer')")
    page.click(".ask button:has-text('Approve')")
    expect(page.locator("#runs .badge")).to_have_text("completed")
    page.goto("/admin/waiting/")
    expect(page.locator(".card.empty")).to_contain_text("Nothing waits")
    screen.shot("waiting-empty")


def test_what_goes_on_besides_text_is_told(
    screen_of: OpenScreen, server: Server, bob: User, conversation: Conversation
) -> None:
    asked = conversation.messages.create(position=1, role="user", content="Hello")
    run = Run.objects.create(conversation=conversation, user_message=asked, status="running", turn_count=1)
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(conversation))
    expect(page.locator("#liveness")).to_have_text("Live")
    activity = page.locator("#activity")
    for name, data, said in (
        ("model_loading", {"model": "llama3"}, "The model llama3 is being loaded…"),
        ("context_trimmed", {"messages": 3}, "3 earlier messages did not fit the model's window."),
        ("tool_executing", {"tool": {"call_id": "c", "name": "look", "arguments": {}}}, "look is being called…"),
    ):
        run.last_seq += 1
        run.save()
        stream.tell(conversation.pk, [(name, {**data, **stream.envelope_of(run)})])
        expect(activity).to_have_text(said)
    screen.shot("activity")
    run.last_seq += 1
    chunk = {"chunk": "So", "type": "content", "offset": 0}
    stream.tell(conversation.pk, [("text_chunk", {**chunk, **stream.envelope_of(run)})])
    expect(activity).to_be_hidden()
    expect(page.locator(".bubble-assistant > .bubble-text")).to_have_text("So")
