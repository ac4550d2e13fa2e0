"""The nouns that tests share."""

import os
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations.models import Agent, AgentPrompt, Conversation, SystemPrompt
from maintenance import broker
from tests import settings as test_settings
from tests.models_registry.contract.table import pytest_terminal_summary  # noqa: F401  a hook: it has to be here
from tests.queue import drain
from tests.services import Valkey, postgres_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("TEST_DATABASE") == "postgresql" and postgres_folder() is None:
        absent = pytest.mark.skip(reason="PostgreSQL's server is not installed: nothing is tested on it")
        for item in items:
            item.add_marker(absent)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """The running Valkey, emptied. A test may stop it; it is started again afterwards."""
    server = test_settings.valkey
    broker.forget()
    broker.quick().flushall()
    yield server
    if server.process is None:
        server.start()
    broker.quick().flushall()


@pytest.fixture
def alice(db: None) -> User:
    """Owns what the tests make."""
    return User.objects.create_user("alice", "alice@example.test", "wonderland-7")


@pytest.fixture
def bob(db: None) -> User:
    """Operates the server."""
    return User.objects.create_superuser("bob", "bob@example.test", "operator-7-house")


@pytest.fixture
def charlie(db: None) -> User:
    """A stranger: has an account, owns nothing."""
    return User.objects.create_user("charlie", "charlie@example.test", "stranger-7-street")


@pytest.fixture
def prompt(alice: User) -> SystemPrompt:
    return SystemPrompt.objects.create(user=alice, name="Polite", slug="polite", template="You are {{ agent_name }}.")


@pytest.fixture
def agent(alice: User, prompt: SystemPrompt) -> Agent:
    """Alice's agent on the fake backend; its model repeats what it is told."""
    agent = Agent.objects.create(
        user=alice, name="Parrot", slug="parrot", ai_backend="fake", model_config={"model": "echo"}
    )
    AgentPrompt.objects.create(agent=agent, system_prompt=prompt)
    return agent


@pytest.fixture
def conversation(agent: Agent) -> Conversation:
    return Conversation.objects.create(user=agent.user, agent=agent)


@pytest.fixture
def api(alice: User) -> APIClient:
    """A client of the REST API, signed in as Alice."""
    client = APIClient()
    client.force_authenticate(alice)
    return client


@pytest.fixture
def work(valkey: Valkey, transactional_db: None) -> Callable[[], list[str]]:
    """Runs everything that is queued, in this process, in the order of urgency, and answers with the outcomes."""
    return drain
