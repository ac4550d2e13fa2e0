"""Whoever asks in a benchmark: a user with a token, and an agent for each of the stand-in's models."""

import secrets

from django.contrib.auth import get_user_model

from benchmarks import environment
from conversations.models import Agent, AgentPrompt, Conversation, SystemPrompt
from maintenance.access import tokens

MODELS = ("stub", "stub-paced")
TEMPLATE = "You are {{ agent_name }}, who answers {{ user_name }} in few words. Today is {{ date }}."


class Account:
    """Made in the database, so that it does not depend on how a client would make it."""

    def __init__(self) -> None:
        name = f"benchmark-{environment.port}-{secrets.token_hex(4)}"
        self.user = get_user_model().objects.create_user(name)
        self.token = tokens.issue(self.user, "benchmark")[1]
        prompt = SystemPrompt.objects.create(user=self.user, name="Benchmark", slug=name, template=TEMPLATE)
        self._agents = {model: self._agent(f"{name}-{model}", model, prompt) for model in MODELS}

    def conversations(self, model: str, number: int) -> list[int]:
        """The ids of new conversations with the agent of that model."""
        rows = (Conversation(user=self.user, agent=self._agents[model]) for _ in range(number))
        return [row.pk for row in Conversation.objects.bulk_create(rows)]

    def _agent(self, slug: str, model: str, prompt: SystemPrompt) -> Agent:
        agent = Agent.objects.create(user=self.user, name="Clerk", slug=slug, model_config={"model": model})
        AgentPrompt.objects.create(agent=agent, system_prompt=prompt)
        return agent
