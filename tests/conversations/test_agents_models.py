"""What an agent's owner is told of its model, as far as the registry knows it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from conversations import agents
from conversations.models import Agent
from models_registry.models import BackendRecord, Model

pytestmark = pytest.mark.django_db


@pytest.fixture
def llama(agent: Agent) -> Agent:
    """The agent, on a backend of the console whose models are not known yet."""
    BackendRecord.objects.create(name="vllm", driver="openai", base_url="http://127.0.0.1:9/v1")
    agent.ai_backend, agent.model_config, agent.tool_mode = "vllm", {"model": "llama"}, Agent.ToolMode.NATIVE
    agent.save()
    return agent


def listed(name: str, **values: Any) -> None:
    Model.objects.create(backend="vllm", name=name, synced_at=timezone.now(), **values)


def told(agent: Agent) -> list[tuple[str, str]]:
    return [(warning["field"], warning["message"]) for warning in agents.warnings(agent)]


def test_nothing_is_said_while_nothing_is_known(llama: Agent) -> None:
    assert told(llama) == []


def test_a_model_that_its_backend_does_not_list_is_a_warning(llama: Agent) -> None:
    listed("other")
    assert told(llama) == [("model_config", "vllm does not list the model llama.")]


def test_a_model_that_it_lists_under_its_full_name_is_none(llama: Agent) -> None:
    listed("llama:latest")
    assert told(llama) == []


def test_a_model_without_tools_is_a_warning_where_they_go_natively(llama: Agent) -> None:
    listed("llama", capabilities=["completion"])
    assert told(llama) == [("tool_mode", "llama cannot call tools by itself: choose json_schema to use tools with it.")]
    llama.tool_mode = Agent.ToolMode.JSON_SCHEMA
    assert told(llama) == []


@pytest.mark.parametrize("capabilities", [None, ["completion", "tools"]])
def test_a_model_with_tools_or_that_does_not_tell_is_none(llama: Agent, capabilities: list[str] | None) -> None:
    listed("llama", capabilities=capabilities)
    assert told(llama) == []


def test_f28_a_window_that_is_smaller_than_configured_is_a_warning(llama: Agent, api: APIClient) -> None:
    listed("llama", context_length=8192)
    llama.model_config = {"model": "llama", "context_length": 32_768}
    llama.save()
    [warning] = api.get(f"/api/v1/agents/{llama.pk}").json()["warnings"]
    assert (warning["field"], warning["given"], warning["used"]) == ("context_length", 32_768, 8192)
    assert warning["message"] == "The model's window is 8192 tokens."


def test_many_agents_with_the_same_model_ask_for_it_once(
    llama: Agent, api: APIClient, django_assert_num_queries: Callable[..., Any]
) -> None:
    listed("llama", capabilities=["completion"])
    for number in range(5):
        Agent.objects.create(
            user=llama.user, name="More", slug=f"more-{number}", ai_backend="vllm", model_config=llama.model_config,
            tool_mode=llama.tool_mode,
        )  # fmt: skip
    with django_assert_num_queries(7):  # count, agents, their links, prompts, tools; the backend, the model
        body = api.get("/api/v1/agents").json()
    assert [len(agent["warnings"]) for agent in body["data"]] == [1] * 6


def test_the_page_of_the_agent_shows_it(llama: Agent, bob: Any) -> None:
    listed("other")
    client = Client()
    client.force_login(bob)
    page = client.get(f"/admin/conversations/agent/{llama.pk}/change/").content.decode()
    assert "vllm does not list the model llama." in page
