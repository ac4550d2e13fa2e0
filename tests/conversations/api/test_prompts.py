from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations.models import Agent, AgentPrompt, SystemPrompt

pytestmark = pytest.mark.django_db
PROMPTS = "/api/v1/system-prompts"


def create(api: APIClient, **values: Any) -> Any:
    return api.post(PROMPTS, {"name": "House rules", "template": "Be kind.", **values})


def test_the_slug_is_made_from_the_name(api: APIClient) -> None:
    answer = create(api)
    assert (answer.status_code, answer.json()["slug"]) == (201, "house-rules")
    assert create(api).json()["slug"] == "house-rules-2"


def test_slugs_are_unique_per_user(api: APIClient, stranger: APIClient) -> None:
    assert create(api, slug="rules").status_code == 201
    assert create(stranger, slug="rules").status_code == 201
    assert list(create(api, slug="rules").json()["errors"]) == ["slug"]


def test_changing_to_a_taken_slug_is_422(api: APIClient) -> None:
    create(api, slug="rules")
    other = create(api).json()
    answer = api.patch(f"{PROMPTS}/{other['id']}", {"slug": "rules"})
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["slug"])


def test_a_template_is_stored_as_it_was_written(api: APIClient) -> None:
    assert create(api, template="  Be {{ tone }}.\n\n").json()["template"] == "  Be {{ tone }}.\n\n"


def test_a_template_with_an_error_is_422_with_the_line(api: APIClient) -> None:
    answer = create(api, template="one\n{{ oops")
    assert answer.status_code == 422
    assert "line 2" in answer.json()["errors"]["template"][0]


def test_f17_unknown_fields_are_refused(api: APIClient) -> None:
    assert sorted(create(api, content="x", is_shared=True).json()["errors"]) == ["content", "is_shared"]


@pytest.mark.parametrize("names", [["a b"], ["1a"], [""], "a", [["a"]]])
def test_required_variables_are_names(api: APIClient, names: Any) -> None:
    assert create(api, required_variables=names).status_code == 422


class TestSharing:
    @pytest.fixture
    def shared(self, bob: User) -> SystemPrompt:
        return SystemPrompt.objects.create(user=bob, name="All", slug="all", template="t", is_shared=True)

    def test_a_shared_prompt_is_read_by_all(self, api: APIClient, shared: SystemPrompt) -> None:
        assert [row["id"] for row in api.get(PROMPTS).json()["data"]] == [shared.pk]
        assert api.get(f"{PROMPTS}/{shared.pk}").json()["is_shared"] is True

    @pytest.mark.parametrize("method", ["put", "patch", "delete"])
    def test_f45_only_its_owner_changes_it(self, api: APIClient, shared: SystemPrompt, method: str) -> None:
        answer = getattr(api, method)(f"{PROMPTS}/{shared.pk}", {"template": "mine"})
        assert (answer.status_code, answer.json()["code"]) == (403, "read_only")
        shared.refresh_from_db()
        assert shared.template == "t"

    def test_f45_a_strangers_prompt_is_not_there(self, stranger: APIClient, prompt: SystemPrompt) -> None:
        assert stranger.get(PROMPTS).json()["data"] == []
        assert stranger.patch(f"{PROMPTS}/{prompt.pk}", {"template": "x"}).status_code == 404


class TestPreview:
    def preview(self, api: APIClient, prompt: SystemPrompt, **body: Any) -> Any:
        return api.post(f"{PROMPTS}/{prompt.pk}/preview", body)

    def test_it_shows_the_text_for_an_agent(self, api: APIClient, agent: Agent, prompt: SystemPrompt) -> None:
        assert self.preview(api, prompt, agent_id=agent.pk).json() == {"text": "You are Parrot."}

    def test_given_variables_win(self, api: APIClient, agent: Agent, prompt: SystemPrompt) -> None:
        answer = self.preview(api, prompt, agent_id=agent.pk, variables={"agent_name": "Cat"})
        assert answer.json() == {"text": "You are Cat."}

    def test_it_needs_no_agent(self, api: APIClient, prompt: SystemPrompt) -> None:
        assert self.preview(api, prompt).status_code == 200

    def test_an_error_names_prompt_and_variable(self, api: APIClient, prompt: SystemPrompt) -> None:
        SystemPrompt.objects.update(template="a\n{{ missing }}")
        answer = self.preview(api, prompt)
        assert answer.status_code == 422
        assert all(word in answer.json()["message"] for word in ("Polite", "line 2", "missing"))

    def test_f19_a_template_runs_no_code(self, api: APIClient, prompt: SystemPrompt) -> None:
        SystemPrompt.objects.update(template="{{ ''.__class__.__mro__ }}")
        assert self.preview(api, prompt).status_code == 422

    def test_a_strangers_agent_is_not_there(self, stranger: APIClient, agent: Agent, prompt: SystemPrompt) -> None:
        SystemPrompt.objects.update(is_shared=True)
        assert self.preview(stranger, prompt, agent_id=agent.pk).status_code == 404


def test_deleting_a_prompt_leaves_the_agent(api: APIClient, agent: Agent, prompt: SystemPrompt) -> None:
    assert api.delete(f"{PROMPTS}/{prompt.pk}").status_code == 204
    assert api.get(f"/api/v1/agents/{agent.pk}").json()["system_prompts"] == []
    assert not AgentPrompt.objects.exists()


def test_the_list_costs_the_same_for_one_and_for_many(
    api: APIClient, alice: User, prompt: SystemPrompt, django_assert_num_queries: Callable[..., Any]
) -> None:
    def listed() -> int:
        with django_assert_num_queries(2):
            return len(api.get(f"{PROMPTS}?per_page=100").json()["data"])

    assert listed() == 1
    SystemPrompt.objects.bulk_create(
        SystemPrompt(user=alice, name=f"p{n}", slug=f"p{n}", template="t") for n in range(19)
    )
    assert listed() == 20
