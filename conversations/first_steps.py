"""What a new installation needs before anyone can use it: an operator, and an agent to talk to."""

import secrets
from collections.abc import Mapping

from django.contrib.auth.models import User
from django.db import transaction

from conversations.models import Agent, AgentPrompt, SystemPrompt

AGENT_NAME, AGENT_SLUG = "Assistant", "assistant"
PROMPT_NAME, PROMPT_SLUG = "Assistant", "assistant"
_TEMPLATE = """\
You are {{ agent_name }}, a helpful assistant. Answer briefly and in plain words.
If you do not know something, say so.
"""


@transaction.atomic
def take(environment: Mapping[str, str]) -> list[str]:
    """Make what is missing; one line of text for each thing that was made.

    The first admin comes from `DJANGO_SUPERUSER_USERNAME`, `_EMAIL` and `_PASSWORD`. A password that was generated
    is in the text, and nowhere else. An installation that has agents is left without ours.
    """
    said = []
    admin = User.objects.filter(is_superuser=True).order_by("id").first()
    if admin is None:
        admin, line = _make_admin(environment)
        said.append(line)
    if not Agent.objects.exists():
        said.append(_make_agent(admin))
    return said


def _make_admin(environment: Mapping[str, str]) -> tuple[User, str]:
    name = environment.get("DJANGO_SUPERUSER_USERNAME") or "admin"
    email = environment.get("DJANGO_SUPERUSER_EMAIL") or f"{name}@localhost"
    given = environment.get("DJANGO_SUPERUSER_PASSWORD")
    password = given or secrets.token_urlsafe(12)
    admin = User.objects.create_superuser(name, email, password)
    secret = "the password you gave" if given else f"password {password} (shown only now)"
    return admin, f"First admin: {name}, e-mail {email}, {secret}"


def _make_agent(owner: User) -> str:
    prompt, _ = SystemPrompt.objects.get_or_create(
        user=owner, slug=PROMPT_SLUG, defaults={"name": PROMPT_NAME, "template": _TEMPLATE, "is_shared": True}
    )
    # Without tools: the model that comes with the server is too small to be offered any.
    agent = Agent.objects.create(
        user=owner, name=AGENT_NAME, slug=AGENT_SLUG, description="Ready to talk to.", system_tools=[]
    )
    AgentPrompt.objects.create(agent=agent, system_prompt=prompt)
    return f"Ready agent: {agent.name} ({agent.slug})"
