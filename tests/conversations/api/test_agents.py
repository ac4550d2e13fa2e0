from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations.models import Agent, AgentPrompt, Conversation, Run, SystemPrompt

pytestmark = pytest.mark.django_db
AGENTS = "/api/v1/agents"


def create(api: APIClient, **values: Any) -> Any:
    return api.post(AGENTS, {"name": "Helper", **values})


def prompt_of(user: User, slug: str, **values: Any) -> SystemPrompt:
    return SystemPrompt.objects.create(user=user, name=slug, slug=slug, template="t", **values)


class TestCreating:
    def test_a_name_is_enough(self, api: APIClient, alice: User) -> None:
        answer = create(api)
        assert answer.status_code == 201
        body = answer.json()
        assert (body["slug"], body["status"], body["max_turns"], body["on_busy"]) == ("helper", "active", 25, "enqueue")
        assert (body["system_prompts"], body["tools"], body["warnings"]) == ([], [], [])
        assert Agent.objects.get(pk=body["id"]).user == alice

    def test_without_a_name_it_is_422(self, api: APIClient) -> None:
        assert list(api.post(AGENTS, {"name": None}).json()["errors"]) == ["name"]

    def test_slugs_made_from_names_are_unique(self, api: APIClient, stranger: APIClient) -> None:
        assert [create(client).json()["slug"] for client in (api, api, stranger)] == ["helper", "helper-2", "helper-3"]

    def test_a_name_without_latin_letters_gets_a_slug_too(self, api: APIClient) -> None:
        assert create(api, name="小猫").json()["slug"] == "agent"

    def test_a_given_slug_that_is_taken_is_422(self, api: APIClient) -> None:
        create(api, slug="mine")
        answer = create(api, slug="mine")
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["slug"])

    def test_null_counts_as_absent(self, api: APIClient) -> None:
        answer = create(api, description=None, ai_backend=None, model_config=None, max_turns=None)
        assert answer.status_code == 201

    def test_f17_unknown_fields_are_refused(self, api: APIClient) -> None:
        answer = create(api, colour="red", user_id=7, turn_count=-1)
        assert (answer.status_code, sorted(answer.json()["errors"])) == (422, ["colour", "turn_count", "user_id"])

    def test_f17_what_old_clients_send_gives_warnings(self, api: APIClient) -> None:
        answer = create(api, code="x", model="y", document_ids=[1])
        assert answer.status_code == 201
        assert [warning["field"] for warning in answer.json()["warnings"]] == ["document_ids", "model", "code"]

    def test_a_backend_that_is_not_configured_is_422(self, api: APIClient) -> None:
        answer = create(api, ai_backend="vllm")
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["ai_backend"])
        assert create(api, ai_backend="fake").json()["ai_backend"] == "fake"

    def test_a_model_config_with_unknown_fields_is_422(self, api: APIClient) -> None:
        answer = create(api, model_config={"temprature": 1})
        assert list(answer.json()["errors"]) == ["model_config.temprature"]

    def test_a_value_that_is_clamped_is_shown(self, api: APIClient) -> None:
        answer = create(api, ai_backend="fake", model_config={"temperature": 9})
        assert [warning["field"] for warning in answer.json()["warnings"]] == ["temperature"]

    @pytest.mark.parametrize("turns", [0, 101, -5, 10**9])
    def test_f12_max_turns_is_bounded(self, api: APIClient, turns: int) -> None:
        assert list(create(api, max_turns=turns).json()["errors"]) == ["max_turns"]

    def test_the_same_idempotency_key_makes_one(self, api: APIClient) -> None:
        answers = [api.post(AGENTS, {"name": "A"}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        assert Agent.objects.count() == 1


class TestPrompts:
    def test_prompts_keep_their_order(self, api: APIClient, alice: User) -> None:
        ids = [prompt_of(alice, slug).pk for slug in ("a", "b", "c")]
        body = create(api, system_prompt_ids=[ids[2], ids[0], ids[1]]).json()
        assert body["system_prompt_ids"] == [ids[2], ids[0], ids[1]]
        assert [(prompt["slug"], prompt["order"]) for prompt in body["system_prompts"]] == [
            ("c", 0),
            ("a", 1),
            ("b", 2),
        ]

    def test_reordering_keeps_the_values_of_those_that_stay(self, api: APIClient, agent: Agent, alice: User) -> None:
        AgentPrompt.objects.update(variable_overrides={"tone": "dry"})
        old, new = agent.prompt_links.get().system_prompt_id, prompt_of(alice, "new").pk
        body = api.patch(f"{AGENTS}/{agent.pk}", {"system_prompt_ids": [new, old]}).json()
        assert [prompt["variable_overrides"] for prompt in body["system_prompts"]] == [{}, {"tone": "dry"}]

    def test_an_empty_list_removes_them(self, api: APIClient, agent: Agent) -> None:
        assert api.patch(f"{AGENTS}/{agent.pk}", {"system_prompt_ids": []}).json()["system_prompts"] == []

    def test_f45_a_strangers_prompt_cannot_be_used(self, api: APIClient, charlie: User) -> None:
        answer = create(api, system_prompt_ids=[prompt_of(charlie, "secret").pk])
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["system_prompt_ids"])
        assert not Agent.objects.exists()

    def test_a_shared_prompt_can_be_used(self, api: APIClient, bob: User) -> None:
        shared = prompt_of(bob, "house-rules", is_shared=True)
        assert create(api, system_prompt_ids=[shared.pk]).json()["system_prompt_ids"] == [shared.pk]

    def test_a_prompt_cannot_be_used_twice(self, api: APIClient, alice: User) -> None:
        number = prompt_of(alice, "a").pk
        assert create(api, system_prompt_ids=[number, number]).status_code == 422

    @pytest.mark.parametrize("ids", [[10**30], [-1], ["x"], "1", [[1]]])
    def test_what_is_no_id_is_422(self, api: APIClient, ids: Any) -> None:
        assert create(api, system_prompt_ids=ids).status_code == 422

    def test_a_required_variable_without_value_gives_a_warning(self, api: APIClient, alice: User) -> None:
        needy = prompt_of(alice, "needy", required_variables=["tone", "user_name", "date"])
        body = create(api, system_prompt_ids=[needy.pk]).json()
        assert [warning["message"] for warning in body["warnings"]] == [
            "The prompt needy requires tone, which has no value."
        ]
        filled = api.patch(f"{AGENTS}/{body['id']}", {"context_variables": {"tone": "dry"}}).json()
        assert filled["warnings"] == []


class TestChanging:
    @pytest.mark.parametrize("method", ["put", "patch"])
    def test_what_is_not_sent_stays(self, api: APIClient, agent: Agent, method: str) -> None:
        answer = getattr(api, method)(f"{AGENTS}/{agent.pk}", {"description": "Repeats."})
        assert answer.status_code == 200
        body = answer.json()
        assert (body["description"], body["name"], body["slug"]) == ("Repeats.", "Parrot", "parrot")
        assert body["model_config"] == {"model": "echo"}

    def test_a_refused_change_changes_nothing(self, api: APIClient, agent: Agent) -> None:
        assert api.patch(f"{AGENTS}/{agent.pk}", {"name": "X", "system_prompt_ids": [999]}).status_code == 422
        agent.refresh_from_db()
        assert agent.name == "Parrot"

    def test_an_agent_whose_backend_is_gone_is_still_shown(self, api: APIClient, agent: Agent) -> None:
        Agent.objects.update(ai_backend="gone")
        assert [warning["field"] for warning in api.get(f"{AGENTS}/{agent.pk}").json()["warnings"]] == ["ai_backend"]
        assert api.patch(f"{AGENTS}/{agent.pk}", {"ai_backend": "fake"}).json()["warnings"] == []

    @pytest.mark.usefixtures("valkey")
    def test_f18_deleting_cancels_what_runs_and_takes_the_conversations_along(
        self, api: APIClient, agent: Agent, conversation: Conversation
    ) -> None:
        api.post(f"/api/v1/conversations/{conversation.pk}/messages", {"content": "hi"})
        assert api.delete(f"{AGENTS}/{agent.pk}").status_code == 204
        assert not Conversation.objects.exists()
        assert not Run.objects.exists()


def test_the_list_costs_the_same_for_one_and_for_many(
    api: APIClient, agent: Agent, alice: User, django_assert_num_queries: Callable[..., Any]
) -> None:
    def listed() -> int:
        with django_assert_num_queries(5):  # count, agents, their links, the prompts, the tools
            return len(api.get(f"{AGENTS}?per_page=100").json()["data"])

    assert listed() == 1
    for number in range(19):
        made = Agent.objects.create(user=alice, name=f"A{number}", slug=f"a{number}")
        AgentPrompt.objects.create(agent=made, system_prompt=agent.system_prompts.get())
    assert listed() == 20


def test_only_ones_own_are_listed(stranger: APIClient, agent: Agent) -> None:
    assert stranger.get(AGENTS).json()["data"] == []
