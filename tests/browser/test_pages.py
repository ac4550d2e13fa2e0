"""Every page in Chromium: without a complaint, on a phone, in the dark; and its main action."""

import base64
import hashlib

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Page, expect

from conversations.models import Agent, Conversation, Run, SystemPrompt, ToolCall
from maintenance import queues
from maintenance.models import AuditEntry, Job
from tests.acceptance.conftest import Workers
from tests.browser.conftest import OpenScreen, Server
from tests.console.pages import addresses

DARK = 60  # the brightest that a dark page's background may be, of 255


@pytest.fixture
def talk(conversation: Conversation) -> Conversation:
    """A conversation in which something was said."""
    said = conversation.messages
    asked = said.create(position=1, role="user", content="What is the order's state?")
    run = Run.objects.create(conversation=conversation, user_message=asked, status="completed", turn_count=2)
    looked = said.create(run=run, position=2, role="assistant", content="I look it up.")
    ToolCall.objects.create(
        message=looked, run=run, call_id="c1", name="orders.lookup", kind="user", arguments={"id": 4919},
        status="succeeded", result="paid",
    )  # fmt: skip
    said.create(run=run, position=3, role="assistant", content="It is paid.\n\n" + "word " * 200)
    return conversation


def of_job(job: Job) -> str:
    return f"/admin/maintenance/job/{job.pk}/change/"


def brightness(page: Page, selector: str) -> int:
    colour = page.evaluate("selector => getComputedStyle(document.querySelector(selector)).backgroundColor", selector)
    return max(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3])


@pytest.mark.parametrize("width", [1400, 390])
def test_no_page_complains_or_overflows(
    screen_of: OpenScreen, bob: User, talk: Conversation, failed_job: Job, width: int
) -> None:
    queues.carry(failed_job)
    page = screen_of(bob, width=width, height=800).page
    wide = []
    rq_job = f"/admin/django-rq/queues/0/{queues.rq_id(failed_job.pk, failed_job.dispatch)}/"
    for address in [*addresses(talk, failed_job, bob.pk), rq_job]:
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(address)
    assert wide == []


def test_signing_in_works(screen_of: OpenScreen, server: Server, bob: User) -> None:
    # The server hashes as it does in production, not as the tests do.
    bob.password = "pbkdf2_sha256$1$salt$" + pbkdf2("a-long-password-7")
    bob.save()
    screen = screen_of(bob)
    screen.context.clear_cookies()
    page = screen.page
    page.goto("/admin/")
    screen.shot("sign-in")
    page.fill("#id_username", "bob")
    page.fill("#id_password", "a-long-password-7")
    page.click("input[type=submit]")
    expect(page.locator("h1")).to_have_text("Overview")


def pbkdf2(password: str) -> str:
    return base64.b64encode(hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 1)).decode()


def test_the_overview_leads_to_what_failed(
    screen_of: OpenScreen, bob: User, talk: Conversation, failed_job: Job
) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/")
    expect(page.locator(".figure.alarming strong")).to_have_text("1")
    expect(page.locator("#nav-sidebar .count")).to_have_text("1")
    screen.shot("overview")
    page.click("text=Latest failed jobs >> .. >> a")
    expect(page.locator("h1")).to_contain_text("write_line")
    screen.shot("job-failed")


def test_a_failed_job_is_retried_and_done(screen_of: OpenScreen, workers: Workers, bob: User, failed_job: Job) -> None:
    Job.objects.update(arguments={"path": "/dev/null", "text": "x"})
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/maintenance/job/?status__exact=failed")
    screen.shot("failed-jobs")
    page.click("#result_list a")
    page.click("text=Traceback")
    expect(page.locator("pre.block")).to_contain_text("<script>alert(1)</script>")
    page.click("button:has-text('Retry')")
    expect(page.locator(".messagelist")).to_contain_text("Queued again: write_line.")
    page.wait_for_function("() => document.querySelector('h1 .badge').textContent === 'completed' || location.reload()")
    expect(page.locator(".timeline .badge").first).to_have_text("succeeded")
    screen.shot("job-retried")
    assert AuditEntry.objects.get().verb == "job.retry"


def test_selected_jobs_are_cancelled_from_the_list(screen_of: OpenScreen, bob: User, failed_job: Job) -> None:
    Job.objects.update(status="scheduled", finished_at=None)
    page = screen_of(bob).page
    page.goto("/admin/maintenance/job/")
    page.click("#action-toggle")
    expect(page.locator(".action-counter")).to_have_text("1 of 1 selected")
    page.select_option("select[name=action]", "cancel_selected")
    page.click("button[name=index]")
    expect(page.locator(".messagelist")).to_contain_text("1 job was cancelled.")


def test_a_viewer_finds_no_button_and_staff_find_nothing(
    screen_of: OpenScreen, alice: User, charlie: User, talk: Conversation, failed_job: Job
) -> None:
    for user in (alice, charlie):
        user.is_staff = True
        user.save()
    charlie.groups.add(Group.objects.get(name="Viewer"))
    viewer = screen_of(charlie)
    viewer.page.goto(of_job(failed_job))
    expect(viewer.page.locator("h1")).to_contain_text("write_line")
    expect(viewer.page.locator("button:has-text('Retry')")).to_have_count(0)
    viewer.page.goto(f"/admin/conversations/conversation/{talk.pk}/change/")
    expect(viewer.page.locator(".bubble")).to_have_count(3)
    expect(viewer.page.locator("#composer")).to_have_count(0)

    staff = screen_of(alice)
    answer = staff.page.goto(of_job(failed_job))
    assert answer is not None
    assert answer.status == 403
    expect(staff.page.locator("#content")).to_contain_text("Your account may not do this")
    staff.page.goto("/admin/")
    expect(staff.page.locator("#content")).to_contain_text("may see no operations")
    staff.shot("no-permission")
    staff.complaints.clear()  # Chromium notes each 403


def test_the_sidebar_filters_and_folds(screen_of: OpenScreen, bob: User) -> None:
    page = screen_of(bob).page
    page.goto("/admin/")
    page.fill("#nav-filter", "conv")
    page.press("#nav-filter", "e")
    expect(page.locator("#nav-sidebar a:visible")).to_have_text(["Conversations"])
    page.press("#nav-filter", "Escape")
    page.click("#toggle-nav-sidebar")
    expect(page.locator("#nav-filter")).to_be_hidden()


def test_a_phone_has_a_menu(screen_of: OpenScreen, bob: User, talk: Conversation) -> None:
    screen = screen_of(bob, width=390, height=800)
    page = screen.page
    page.goto("/admin/")
    expect(page.locator("#nav-sidebar")).to_be_hidden()
    screen.shot("phone-overview")
    page.click("#menu-toggle")
    screen.shot("phone-menu")
    page.click("#nav-sidebar a:has-text('Conversations')")
    page.click("#result_list a")
    expect(page.locator(".bubble").last).to_be_in_viewport()
    screen.shot("phone-conversation")


def test_the_browsers_wish_for_darkness_is_granted(
    screen_of: OpenScreen, bob: User, talk: Conversation, failed_job: Job
) -> None:
    screen = screen_of(bob, scheme="dark")
    for name, address in (
        ("overview", "/admin/"),
        ("jobs", "/admin/maintenance/job/"),
        ("job", of_job(failed_job)),
        ("conversation", f"/admin/conversations/conversation/{talk.pk}/change/"),
        ("agent", f"/admin/conversations/agent/{talk.agent_id}/change/"),
        ("queue", "/admin/django-rq/queues/0/details/"),
    ):
        screen.page.goto(address)
        assert brightness(screen.page, "body") < DARK, name
        screen.shot(f"dark-{name}")


def test_darkness_can_be_chosen_against_the_browsers_wish(screen_of: OpenScreen, bob: User) -> None:
    page = screen_of(bob).page
    page.goto("/admin/")
    assert brightness(page, "body") > DARK
    for _ in range(3):  # auto, light, dark
        if page.locator("html[data-theme=dark]").count():
            break
        page.click("#user-tools .theme-toggle")
    assert brightness(page, "body") < DARK
    page.reload()
    assert brightness(page, "body") < DARK


def test_a_prompt_is_previewed_while_it_is_typed(
    screen_of: OpenScreen, fresh_server: Server, bob: User, agent: Agent
) -> None:
    prompt = agent.system_prompts.get()
    screen = screen_of(bob)
    page = screen.page
    page.goto(f"/admin/conversations/systemprompt/{prompt.pk}/change/")
    preview = page.locator("#preview pre")
    expect(preview).to_have_text("You are Agent.")
    page.select_option("#preview-agent", label="Parrot")
    expect(preview).to_have_text("You are Parrot.")
    page.fill("#id_template", "Talk like {{ who }}.")
    expect(preview).to_contain_text("'who' is undefined")
    page.fill("#id_default_values", '{"who": "a pirate"}')
    expect(preview).to_have_text("Talk like a pirate.")
    screen.shot("prompt")
    page.click("input[name=_save]")
    expect(page.locator(".messagelist")).to_contain_text("was changed successfully")
    assert SystemPrompt.objects.get().default_values == {"who": "a pirate"}


def test_an_agent_gets_a_second_prompt(screen_of: OpenScreen, fresh_server: Server, bob: User, agent: Agent) -> None:
    SystemPrompt.objects.create(user=bob, name="Tone", slug="tone", template="Be {{ tone }}.")
    screen = screen_of(bob)
    page = screen.page
    page.goto(f"/admin/conversations/agent/{agent.pk}/change/")
    preview = page.locator("#preview pre")
    expect(preview).to_have_text("You are Parrot.")
    page.click(".add-row a")
    page.click("#prompt_links-1 .select2-selection")
    page.fill(".select2-search__field", "Tone")
    page.click(".select2-results__option:has-text('Tone')")
    page.fill("#id_prompt_links-1-variable_overrides", '{"tone": "kind"}')
    page.fill("#id_prompt_links-1-order", "5")
    expect(preview).to_have_text("You are Parrot.\n\nBe kind.")
    screen.shot("agent")
    page.click("input[name=_save]")
    expect(page.locator(".messagelist")).to_contain_text("was changed successfully")
    assert agent.prompt_links.count() == 2


def test_a_mistake_in_an_agent_is_shown_at_its_field(screen_of: OpenScreen, bob: User, agent: Agent) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(f"/admin/conversations/agent/{agent.pk}/change/")
    page.fill("#id_model_config", '{"model": "echo", "temperature": "hot"}')
    page.click("input[name=_save]")
    expect(page.locator(".field-model_config .errorlist")).to_have_text("temperature: Must be a number.")
    screen.shot("agent-mistake")
