"""Deleting: nothing stays of what is deleted, and nothing goes on working for it."""

import logging
from collections.abc import Sequence

from django.db import transaction
from redis.exceptions import RedisError

from conversations import picture_files, runs, stream, transitions
from conversations.models import Agent, Conversation, Run
from maintenance import streams
from maintenance.commits import after_commit

logger = logging.getLogger(__name__)


@transaction.atomic
def delete(conversation: Conversation) -> None:
    """Cancel what runs or waits, then delete the conversation and forget its events and images."""
    _stop(conversation)
    _forget([conversation.pk])
    conversation.delete()


@transaction.atomic
def delete_agent(agent: Agent) -> None:
    """Delete an agent with all its conversations."""
    for conversation in agent.conversations.filter(runs__status__in=[Run.Status.PENDING, *Run.OPEN]).distinct():
        _stop(conversation)
    ids = list(agent.conversations.values_list("pk", flat=True))
    _forget(ids)
    agent.delete()


def _stop(conversation: Conversation) -> None:
    transitions.lock(conversation.pk)
    # Those that wait go first: the end of the open run would promote one of them.
    conversation.runs.filter(status=Run.Status.PENDING).update(status=Run.Status.CANCELLED)
    runs.cancel(conversation)


def _forget(conversation_ids: Sequence[int]) -> None:
    after_commit(_forget_events, conversation_ids)
    after_commit(picture_files.forget, conversation_ids)


def _forget_events(conversation_ids: Sequence[int]) -> None:
    try:
        for number in conversation_ids:
            streams.delete(stream.key(number))
    except RedisError as error:
        logger.warning("the events of deleted conversations expire by themselves (%s)", type(error).__name__)
