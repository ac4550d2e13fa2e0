"""The forms of agents and system prompts, and their previews."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from conversations.models import Agent, AgentPrompt, Conversation, SystemPrompt, Tool
from maintenance.models import AuditEntry
from tests.services import Valkey

pytestmark = pytest.mark.django_db

AGENTS = "/admin/conversations/agent/"
PROMPTS = "/admin/conversations/systemprompt/"


def agent_form(*links: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A filled-in form of an agent; each link is a line of the inline table."""
    form = {
        "name": "Helper", "slug": "helper", "description": "", "status": "active", "ai_backend": "fake",
        "model_config": '{"model": "echo"}', "context_variables": "{}", "max_turns": "25", "on_busy": "enqueue",
        "tool_mode": "native", "prompt_links-TOTAL_FORMS": str(len(links)), "prompt_links-INITIAL_FORMS": "0",
    }  # fmt: skip
    for number, link in enumerate(links):
        form |= {f"prompt_links-{number}-{name}": str(value) for name, value in link.items()}
    return {**form, **values}


def prompt_form(**values: Any) -> dict[str, Any]:
    form = {"name": "Style", "slug": "style", "template": "Be brief.", "required_variables": "[]",
            "default_values": "{}", "is_active": "on"}  # fmt: skip
    return {**form, **values}


def errors(answer: Any) -> dict[str, list[str]]:
    return dict(answer.context["adminform"].form.errors)


def test_an_agent_is_made_with_its_prompts_in_order(bobs: Client, bob: User, prompt: SystemPrompt) -> None:
    other = SystemPrompt.objects.create(user=bob, name="Other", slug="other", template="{{ tone }}")
    links = (
        {"order": 2, "system_prompt": prompt.pk, "variable_overrides": ""},
        {"order": 1, "system_prompt": other.pk, "variable_overrides": '{"tone": "warm"}'},
    )
    assert bobs.post(f"{AGENTS}add/", agent_form(*links)).status_code == 302
    agent = Agent.objects.get()
    assert agent.user == bob
    made = AgentPrompt.objects.order_by("order").values_list("system_prompt", "variable_overrides")
    assert list(made) == [(other.pk, {"tone": "warm"}), (prompt.pk, {})]


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("model_config", '{"temperature": "hot"}', "temperature: Must be a number."),
        ("model_config", '{"colour": 1}', "colour: Unknown field."),
        ("model_config", "[]", "Must be an object."),
        ("model_config", "{", "Enter a valid JSON."),
        ("context_variables", "[1]", "Must be an object."),
        ("ai_backend", "nowhere", "Select a valid choice."),
        ("max_turns", "101", "Ensure this value is less than or equal to 100."),
        ("slug", "two words", "Enter a valid"),
    ],
)
def test_a_mistake_is_named_at_its_field(bobs: Client, field: str, text: str, said: str) -> None:
    answer = bobs.post(f"{AGENTS}add/", agent_form(**{field: text}))
    assert said in " ".join(errors(answer)[field])
    assert not Agent.objects.exists()


def test_a_change_keeps_the_owner(bobs: Client, agent: Agent) -> None:
    link = agent.prompt_links.get()
    line = {"id": link.pk, "agent": agent.pk, "order": 3, "system_prompt": link.system_prompt_id,
            "variable_overrides": '{"a": 1}'}  # fmt: skip
    form = agent_form(line, name="Cockatoo", slug="parrot", **{"prompt_links-INITIAL_FORMS": "1"})
    assert bobs.post(f"{AGENTS}{agent.pk}/change/", form).status_code == 302
    agent.refresh_from_db()
    link.refresh_from_db()
    assert (agent.name, agent.user.username, link.order, link.variable_overrides) == ("Cockatoo", "alice", 3, {"a": 1})


def test_a_backend_that_is_no_longer_configured_is_shown_as_such(bobs: Client, agent: Agent) -> None:
    Agent.objects.update(ai_backend="gone")
    page = bobs.get(f"{AGENTS}{agent.pk}/change/").content.decode()
    assert "gone (not configured)" in page
    assert "not configured" in page


def test_warnings_stand_on_the_page(bobs: Client, agent: Agent) -> None:
    SystemPrompt.objects.update(required_variables=["project"])
    page = bobs.get(f"{AGENTS}{agent.pk}/change/").content.decode()
    assert "The prompt Polite requires project, which has no value." in page


def test_the_slug_is_made_from_the_name_once(bobs: Client, agent: Agent) -> None:
    assert "prepopulated-fields-constants" in bobs.get(f"{AGENTS}add/").content.decode()
    assert 'data-prepopulated-fields="[]"' in bobs.get(f"{AGENTS}{agent.pk}/change/").content.decode()


def test_a_prompt_is_made(bobs: Client, bob: User) -> None:
    form = prompt_form(required_variables='["project"]', default_values='{"project": "Apollo"}')
    assert bobs.post(f"{PROMPTS}add/", form).status_code == 302
    prompt = SystemPrompt.objects.get()
    assert (prompt.user, prompt.required_variables, prompt.default_values) == (bob, ["project"], {"project": "Apollo"})


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("template", "Hello\n{% if %}", "line 2"),
        ("required_variables", '{"a": 1}', "Must be a list of names."),
        ("required_variables", '["two words"]', "Each must be a name of a variable."),
        ("default_values", "[]", "Must be an object."),
        ("slug", "polite", "bob has a prompt with this slug."),
    ],
)
def test_a_mistake_in_a_prompt_is_named_at_its_field(bobs: Client, bob: User, field: str, text: str, said: str) -> None:
    SystemPrompt.objects.create(user=bob, name="Polite", slug="polite", template="x")
    answer = bobs.post(f"{PROMPTS}add/", prompt_form(**{field: text}))
    assert said in " ".join(errors(answer)[field])
    assert SystemPrompt.objects.count() == 1


def test_two_users_may_have_the_same_slug(bobs: Client, prompt: SystemPrompt) -> None:
    assert bobs.post(f"{PROMPTS}add/", prompt_form(slug="polite")).status_code == 302


def test_the_preview_shows_what_is_typed(bobs: Client, agent: Agent) -> None:
    form = prompt_form(template="{{ agent_name }} at {{ place }}", default_values='{"place": "sea"}')
    assert bobs.post(f"{PROMPTS}preview/", form).json() == {"text": "Agent at sea"}
    assert bobs.post(f"{PROMPTS}preview/", {**form, "preview_agent": agent.pk}).json() == {"text": "Parrot at sea"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"template": "{{ nobody }}"}, "'nobody' is undefined"),
        ({"template": "{% for %}"}, "The template has an error."),
        ({"default_values": "{"}, "The default values are not valid JSON."),
        ({"default_values": "[]"}, "The default values must be an object."),
        ({"required_variables": '["project"]'}, "the required variable project has no value"),
    ],
)
def test_the_preview_says_what_is_wrong(bobs: Client, values: dict[str, str], said: str) -> None:
    assert said in bobs.post(f"{PROMPTS}preview/", prompt_form(**values)).json()["error"]


def test_an_agents_preview_joins_its_prompts(bobs: Client, bob: User, prompt: SystemPrompt) -> None:
    other = SystemPrompt.objects.create(user=bob, name="O", slug="o", template="{{ tone }} {{ colour }}",
                                        default_values={"tone": "cold"})  # fmt: skip
    off = SystemPrompt.objects.create(user=bob, name="Off", slug="off", template="never", is_active=False)
    form = agent_form(
        {"order": 2, "system_prompt": prompt.pk, "variable_overrides": "{}"},
        {"order": 1, "system_prompt": other.pk, "variable_overrides": '{"tone": "warm"}'},
        {"order": 0, "system_prompt": off.pk, "variable_overrides": ""},
        {"order": 0, "system_prompt": "", "variable_overrides": ""},
        context_variables='{"colour": "red"}',
    )
    assert bobs.post(f"{AGENTS}preview/", form).json() == {"text": "warm red\n\nYou are Helper."}
    assert not Agent.objects.exists()


@pytest.mark.parametrize("address", [f"{AGENTS}preview/", f"{PROMPTS}preview/"])
def test_previews_need_permission_and_a_post(alices: Client, bobs: Client, address: str) -> None:
    assert alices.post(address, prompt_form()).status_code == 403
    assert bobs.get(address).status_code == 405


def test_a_conversation_starts_from_the_agents_page(bobs: Client, bob: User, agent: Agent) -> None:
    assert "Start a conversation" in bobs.get(f"{AGENTS}{agent.pk}/change/").content.decode()
    answer = bobs.post(f"{AGENTS}{agent.pk}/talk/")
    conversation = Conversation.objects.get()
    assert conversation.user == bob
    assert answer["Location"] == f"/admin/conversations/conversation/{conversation.pk}/change/"


def test_a_deleted_agent_takes_its_conversations_along(
    bobs: Client, conversation: Conversation, valkey: Valkey
) -> None:
    address = f"{AGENTS}{conversation.agent_id}/delete/"
    assert "Conversations: 1" in bobs.get(address).content.decode()
    bobs.post(address, {"post": "yes"})
    assert not Agent.objects.exists()
    assert not Conversation.objects.exists()


def test_a_viewer_reads_and_does_not_change(with_role: Callable[[str], Client], agent: Agent) -> None:
    viewer = with_role("Viewer")
    page = viewer.get(f"{AGENTS}{agent.pk}/change/")
    assert page.status_code == 200
    assert "Start a conversation" not in page.content.decode()
    assert viewer.post(f"{AGENTS}{agent.pk}/change/", agent_form()).status_code == 403
    assert viewer.post(f"{AGENTS}{agent.pk}/talk/").status_code == 403


@pytest.mark.parametrize("base", [AGENTS, PROMPTS])
@pytest.mark.parametrize("tail", ["", "add/", "1/change/", "1/delete/", "1/history/"])
def test_staff_without_permission_are_refused(alices: Client, agent: Agent, base: str, tail: str) -> None:
    address = base + tail.replace("1", str(agent.pk if base == AGENTS else agent.system_prompts.get().pk))
    assert alices.get(address).status_code == 403
    assert alices.post(address).status_code == 403


def test_what_is_done_to_agents_and_prompts_is_noted(bobs: Client, bob: User, agent: Agent) -> None:
    bobs.post(f"{PROMPTS}add/", prompt_form())
    prompt = SystemPrompt.objects.get(user=bob)
    bobs.post(f"{PROMPTS}{prompt.pk}/delete/", {"post": "yes"})
    bobs.post(f"{AGENTS}{agent.pk}/talk/")
    noted = AuditEntry.objects.order_by("id").values_list("verb", flat=True)
    assert list(noted) == ["systemprompt.add", "systemprompt.delete", "conversation.open"]


class TestTools:
    """Which tools an agent may use, and which of them want an approval."""

    @pytest.fixture
    def tool(self, alice: User) -> Tool:
        return Tool.objects.create(user=alice, name="lookup", description="Look up.", url="https://shop.example/")

    def save(self, client: Client, agent: Agent, **values: Any) -> Any:
        AgentPrompt.objects.all().delete()
        return client.post(f"{AGENTS}{agent.pk}/change/", agent_form(slug=agent.slug, **values))

    def test_tools_and_approvals_are_chosen(self, bobs: Client, agent: Agent, tool: Tool) -> None:
        values = {
            "tools": str(tool.pk), "system_tools": ["todo_add", "todo_list"], "approvals-of-lookup": "always",
            "approvals-of-todo_add": "once", "approvals-of-todo_list": "never", "approvals-other": "run_command",
            "approvals-other-term": "always",
        }  # fmt: skip
        assert self.save(bobs, agent, **values).status_code == 302
        agent.refresh_from_db()
        assert list(agent.tools.all()) == [tool]
        assert agent.system_tools == ["todo_add", "todo_list"]
        assert agent.approvals == {"lookup": "always", "todo_add": "once", "run_command": "always"}

    def test_all_system_tools_are_no_list(self, bobs: Client, agent: Agent) -> None:
        assert self.save(bobs, agent, every_system_tool="on", system_tools=["todo_add"]).status_code == 302
        agent.refresh_from_db()
        assert agent.system_tools is None
        assert self.save(bobs, agent).status_code == 302
        agent.refresh_from_db()
        assert agent.system_tools == []

    def test_the_form_shows_what_is_stored(self, bobs: Client, agent: Agent, tool: Tool) -> None:
        agent.tools.add(tool)
        agent.system_tools, agent.approvals = ["todo_add"], {"lookup": "once", "run_command": "always"}
        agent.save()
        form = bobs.get(f"{AGENTS}{agent.pk}/change/").context["adminform"].form
        assert (form["every_system_tool"].value(), form["system_tools"].value()) == (False, ["todo_add"])
        assert form["approvals"].value() == agent.approvals
        assert 'name="approvals-of-run_command"' in str(form["approvals"])

    def test_only_tools_of_the_owner_can_be_given(self, bobs: Client, bob: User, agent: Agent) -> None:
        strange = Tool.objects.create(user=bob, name="strange", description="Bob's.", url="https://shop.example/")
        assert "tools" in errors(self.save(bobs, agent, tools=str(strange.pk)))

    @pytest.mark.parametrize(
        ("values", "field"),
        [({"approvals-of-lookup": "perhaps"}, "approvals"), ({"approvals-other": "x" * 129}, "approvals"),
         ({"system_tools": "no_such"}, "system_tools"), ({"tool_mode": "magic"}, "tool_mode")],
    )  # fmt: skip
    def test_what_there_is_not_is_refused(self, bobs: Client, agent: Agent, values: dict[str, str], field: str) -> None:
        assert field in errors(self.save(bobs, agent, **values))

    def test_the_page_lists_what_runs_are_offered(self, bobs: Client, agent: Agent, tool: Tool) -> None:
        agent.tools.add(tool)
        agent.system_tools, agent.approvals = ["todo_add"], {"lookup": "once"}
        agent.save()
        answer = bobs.get(f"{AGENTS}{agent.pk}/change/")
        offered = [(one.name, one.kind, one.approval) for one in answer.context["offered"]]
        assert offered == [("todo_add", "system", "never"), ("lookup", "user", "once")]
        assert f"/admin/conversations/tool/{tool.pk}/change/" in answer.content.decode()

    def test_a_viewer_sees_them(self, with_role: Callable[[str], Client], agent: Agent, tool: Tool) -> None:
        agent.tools.add(tool)
        page = with_role("Viewer").get(f"{AGENTS}{agent.pk}/change/").content.decode()
        assert "lookup" in page
        assert "todo_add" in page
        assert "approvals-other" not in page
