"""Random walks over a run's states: whatever is tried in whatever order, the rules hold."""

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversations import transitions
from conversations.models import Conversation, Message, Run
from conversations.transitions import TRANSITIONS, AlreadyMoved

pytestmark = pytest.mark.databases

Status = Run.Status


def test_every_state_has_its_row_and_ends_are_for_good() -> None:
    assert set(TRANSITIONS) == set(Status.values)
    assert all(TRANSITIONS[state] == () for state in Run.TERMINAL)


def test_every_open_state_can_end() -> None:
    for state in Run.OPEN:
        assert set(TRANSITIONS[state]) & set(Run.TERMINAL)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Status.values)), max_size=25))
def test_random_moves_keep_the_rules(conversation: Conversation, moves: list[tuple[int, str]]) -> None:
    Message.objects.all().delete()
    made = [_pending(conversation) for _ in range(4)]
    with transaction.atomic():
        transitions.promote(conversation.pk)
    for index, to in moves:
        before = {run.pk: run.status for run in Run.objects.all()}
        _try(Run.objects.get(pk=made[index].pk), Status(to))
        after = {run.pk: run.status for run in Run.objects.all()}
        for pk in before:
            assert after[pk] == before[pk] or after[pk] in TRANSITIONS[before[pk]]
        assert sum(status in Run.OPEN for status in after.values()) <= 1


def _pending(conversation: Conversation) -> Run:
    message = Message.objects.create(conversation=conversation, role="user", content="x", status="queued")
    return Run.objects.create(conversation=conversation, user_message=message, status=Status.PENDING)


def _try(run: Run, to: Status) -> None:
    try:
        with transaction.atomic():
            if to in Run.TERMINAL:
                transitions.end(run, to)
            elif to not in Run.OPEN or run.status != Status.PENDING:
                transitions.move(run, to)
    except AlreadyMoved:
        return
