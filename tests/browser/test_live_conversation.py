"""A conversation as its operator sees it happen."""

import json
import re

from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from conversations import runs
from conversations.models import Agent, Conversation, Message, Run
from tests.acceptance.conftest import Workers
from tests.browser.conftest import OpenScreen, Server
from tests.waiting import eventually


def page_of(conversation: Conversation) -> str:
    return f"/admin/conversations/conversation/{conversation.pk}/change/"


def use(agent: Agent, model: str) -> None:
    agent.model_config = {"model": model}
    agent.save()


def answer_of(run: Run) -> str:
    return "".join(Message.objects.filter(run=run, role="assistant").values_list("content", flat=True))


def ended(run: Run) -> bool:
    run.refresh_from_db()
    return run.status in Run.TERMINAL


def send(page: Page, text: str) -> None:
    page.fill("#composer textarea", text)
    page.click("#composer button")


def show(page: Page, *, visible: bool) -> None:
    """As when the operator turns to another tab, or back to this one."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        not visible,
    )


def test_an_answer_streams_to_its_end_through_a_restart_of_the_server(
    screen_of: OpenScreen, server: Server, workers: Workers, bob: User, conversation: Conversation
) -> None:
    use(conversation.agent, "slow")
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(conversation))
    expect(page.locator("#liveness")).to_have_text("Idle")
    send(page, json.dumps({"chunks": 200, "delay_ms": 50}))
    answer = page.locator(".bubble-assistant > .bubble-text")
    expect(answer).to_have_text(re.compile(r"1 2 3 4 5"))
    expect(page.locator("#liveness")).to_have_text("Live")
    screen.shot("conversation-live")
    seen = answer.inner_text()

    server.stop()
    expect(page.locator("#liveness")).to_have_text("Reconnecting")
    server.start()
    expect(page.locator("#liveness")).to_have_text(re.compile("Live|Idle"))  # a slow machine may be back at the end
    screen.complaints.clear()  # that the server was away

    run = Run.objects.get()
    expect(answer).to_have_text(re.compile(r"198 199 200"))
    eventually(lambda: ended(run))
    expect(page.locator("#runs .badge")).to_have_text("completed")
    assert answer.text_content() == answer_of(run)
    assert answer_of(run).startswith(seen.rstrip("▍").rstrip())
    expect(page.locator("#liveness")).to_have_text("Idle")
    expect(page.locator("#notice")).to_be_hidden()
    screen.shot("conversation-completed")


def test_the_stream_alone_gives_the_whole_text(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation
) -> None:
    """Without a look at the database after the first one: what the events say is what is stored."""
    use(conversation.agent, "slow")
    screen = screen_of(bob)
    page = screen.page
    run = runs.start(conversation, json.dumps({"chunks": 60, "delay_ms": 20}))
    page.goto(page_of(conversation))
    page.route("**/state/", lambda route: None)  # never answered
    eventually(lambda: ended(run))
    expect(page.locator(".bubble-assistant > .bubble-text")).to_have_text(answer_of(run), use_inner_text=False)
    page.unroute_all(behavior="ignoreErrors")


def test_a_message_waits_while_another_is_answered(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation
) -> None:
    use(conversation.agent, "slow")
    page = screen_of(bob).page
    page.goto(page_of(conversation))
    send(page, json.dumps({"chunks": 40, "delay_ms": 50}))
    expect(page.locator(".bubble-assistant")).to_be_visible()
    send(page, json.dumps({"chunks": 3, "delay_ms": 1}))
    waiting = page.locator('.bubble-user[data-status="queued"]')
    expect(waiting).to_have_count(1)
    expect(waiting).to_contain_text("queued")
    expect(waiting).to_have_count(0)
    expect(page.locator("#runs .badge-completed")).to_have_count(2)
    assert [one.get_attribute("data-role") for one in page.locator(".bubble").all()] == ["user", "assistant"] * 2


def test_a_run_is_stopped(screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation) -> None:
    use(conversation.agent, "slow")
    page = screen_of(bob).page
    page.goto(page_of(conversation))
    expect(page.locator("#stop")).to_be_hidden()
    send(page, json.dumps({"chunks": 500, "delay_ms": 50}))
    expect(page.locator(".bubble-assistant")).to_be_visible()
    page.click("#stop")
    expect(page.locator("#runs .badge")).to_have_text("cancelled")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator('.bubble-assistant[data-status="incomplete"]')).to_be_visible()


def test_a_failed_run_says_why_and_is_retried(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation
) -> None:
    use(conversation.agent, "script")
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(conversation))
    send(page, json.dumps({"script": [{"error": "backend_unreachable", "message": "The server is away."}]}))
    expect(page.locator(".run-error")).to_have_text("The server is away. (backend_unreachable)")
    expect(page.locator("#runs")).to_contain_text("See that the backend's server runs")
    screen.shot("conversation-failed")
    page.click(".run button")
    expect(page.locator("#runs .badge-failed")).to_have_count(2)
    expect(page.locator("#runs")).to_contain_text("again")


def test_tools_and_thoughts_are_folded(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation
) -> None:
    use(conversation.agent, "script")
    call = {"tool_call": {"name": "look_up", "arguments": {"id": 4919}}}
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(conversation))
    send(page, json.dumps({"script": [{"thinking": "Hm."}, {"text": "Let me look."}, call]}))
    expect(page.locator("#runs .badge")).to_have_text("completed")
    thought = page.locator(".bubble-assistant .thinking .bubble-text").first
    expect(thought).to_be_hidden()
    page.locator(".bubble-assistant .thinking summary").first.click()
    expect(thought).to_have_text("Hm.")
    page.locator(".call summary").click()
    expect(page.locator(".call pre").first).to_contain_text("4919")
    expect(page.locator(".bubble-assistant > .bubble-text").last).to_have_text("Done.")
    page.locator("#runs details summary").click()
    expect(page.locator(".snapshot")).to_contain_text("You are Parrot.")
    screen.shot("conversation-tools")


def test_what_a_model_says_stays_text(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation
) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script> & </div>"
    page = screen_of(bob).page
    page.goto(page_of(conversation))
    send(page, evil)
    expect(page.locator(".bubble-assistant > .bubble-text")).to_have_text(evil)
    expect(page.locator("#transcript img, #transcript script")).to_have_count(0)


def test_a_hidden_page_lets_go_and_comes_back_where_it_was(
    screen_of: OpenScreen, workers: Workers, bob: User, conversation: Conversation
) -> None:
    page = screen_of(bob).page
    page.add_init_script(
        "window.sources = []; const Native = EventSource;"
        "window.EventSource = class extends Native { constructor(url) { super(url); window.sources.push(this); } };"
    )
    page.goto(page_of(conversation))
    send(page, "Hello there")
    expect(page.locator("#runs .badge")).to_have_text("completed")

    show(page, visible=False)
    assert page.evaluate("sources.map(source => source.readyState)") == [2]
    runs.start(conversation, "Still there")
    show(page, visible=True)
    expect(page.locator(".bubble-assistant")).to_have_count(2)
    assert "after=" in page.evaluate("sources.at(-1).url")


def test_whoever_is_signed_out_is_told_so(screen_of: OpenScreen, bob: User, conversation: Conversation) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(page_of(conversation))
    expect(page.locator("#liveness")).to_have_text("Idle")
    show(page, visible=False)
    screen.context.clear_cookies()
    show(page, visible=True)
    expect(page.locator("#notice")).to_contain_text("You are signed out.")
    screen.complaints.clear()  # Chromium notes the refused stream
