import re

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import call_command

from conversations import first_steps
from conversations.models import Agent

pytestmark = pytest.mark.django_db

GIVEN = {
    "DJANGO_SUPERUSER_USERNAME": "olga",
    "DJANGO_SUPERUSER_EMAIL": "olga@example.test",
    "DJANGO_SUPERUSER_PASSWORD": "operator-7-house",
}


def test_it_makes_the_admin_that_the_environment_names() -> None:
    said = first_steps.take(GIVEN)
    olga = User.objects.get(username="olga")
    assert olga.is_superuser
    assert olga.is_staff
    assert olga.email == "olga@example.test"
    assert olga.check_password("operator-7-house")
    assert "operator-7-house" not in "".join(said)


def test_it_makes_up_a_password_and_says_it() -> None:
    said = first_steps.take({})
    found = re.search(r"First admin: admin, .* password (\S+) ", said[0])
    assert found
    assert authenticate(username="admin", password=found[1])


def test_it_makes_an_agent_that_is_ready_to_talk() -> None:
    first_steps.take(GIVEN)
    agent = Agent.objects.get(slug="assistant")
    prompt = agent.system_prompts.get()
    assert agent.name == "Assistant"
    assert agent.ai_backend == ""
    assert prompt.is_shared


def test_a_second_time_it_changes_nothing_and_says_nothing() -> None:
    first_steps.take(GIVEN)
    assert first_steps.take({**GIVEN, "DJANGO_SUPERUSER_USERNAME": "other"}) == []
    assert User.objects.count() == 1
    assert Agent.objects.count() == 1


def test_an_agent_that_was_removed_stays_away_while_there_are_others(agent: Agent, bob: User) -> None:
    assert first_steps.take(GIVEN) == []
    assert not Agent.objects.filter(slug="assistant").exists()


def test_the_command_prints_what_was_made(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_USERNAME", "olga")
    call_command("firststeps")
    assert "First admin: olga" in capsys.readouterr().out
    call_command("firststeps")
    assert capsys.readouterr().out == ""
