"""Titles of conversations: made from the first exchange by a job that nobody waits for.

A model that is too small for it, or that does not answer, costs nothing: the first words of the question will do. A
title that somebody gave is never changed.
"""

import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings

from conversations.models import Agent, Conversation, Message, Run
from maintenance.errors import Invalid
from maintenance.ledger import job
from maintenance.tables import Queue
from models_registry import catalog
from models_registry.backends.base import Cancellation, ChatMessage, ChatRequest, DeltaType, Timeouts
from models_registry.environment import EMBEDDED
from models_registry.errors import BackendError

logger = logging.getLogger(__name__)

TITLE_MAX_CHARACTERS = 80
OUTPUT_TOKENS = 20
READ_CHARACTERS = 2000  # of the question, and of the answer
TIMEOUTS = Timeouts(connect=5, first_byte=30, idle=15, total=60)
# What keeps the model loaded as it is; everything else of an agent's configuration is for its answers.
_KEPT = ("model", "context_length")
_TASK = (
    "Give the conversation below a title: at most six words, in its own language, on one line, without quotation marks "
    "and without a full stop. Answer with the title only."
)
_MARKUP = re.compile(r"^\W*(?:title|titel|titre|título)\s*[:：]\s*", re.IGNORECASE)
_QUOTES = "\"'`“”„‘’«»*#_ \t"


@job(queue=Queue.LOW, timeout=timedelta(minutes=2), max_attempts=1)
def make_title(*, conversation_id: int) -> None:
    """Give a conversation without a title one."""
    conversation = Conversation.objects.select_related("agent").filter(pk=conversation_id, title="").first()
    question, answer = _first_exchange(conversation_id)
    if conversation is None or not question:
        return
    title = clean(_asked(conversation.agent, question, answer)) or clean(question)
    Conversation.objects.filter(pk=conversation_id, title="").update(title=title)


def enqueue_for(run: Run) -> None:
    """After a completed run: the conversation is to have a title, unless it has one."""
    # With the driver `sync` the client would wait for it.
    if settings.TITLES and settings.QUEUE_CONNECTION != "sync" and not run.conversation.title:
        number = run.conversation_id
        make_title.keyed(f"title:{number}").tagged(f"conversation:{number}").enqueue(conversation_id=number)


def _first_exchange(conversation_id: int) -> tuple[str, str]:
    def first(role: str) -> str:
        said = Message.objects.filter(conversation=conversation_id, role=role, position__isnull=False)
        texts = said.exclude(content="").order_by("position").values_list("content", flat=True)
        return (texts.first() or "")[:READ_CHARACTERS]

    return first(Message.Role.USER), first(Message.Role.ASSISTANT)


def _asked(agent: Agent, question: str, answer: str) -> str:
    """What the agent's model says; empty where it is not asked, or does not answer."""
    try:
        resolved = catalog.resolve(agent.ai_backend, _config(agent.model_config))
        if resolved.name == EMBEDDED:
            return ""  # its titles are nonsense
        exchange = f"Question:\n{question}\n\nAnswer:\n{answer}"
        request = ChatRequest(
            messages=[ChatMessage(role="system", content=_TASK), ChatMessage(role="user", content=exchange)],
            config=resolved.config,
            timeouts=TIMEOUTS,
        )
        return resolved.backend.stream(request, _ignore, Cancellation()).content
    except (BackendError, Invalid) as error:
        logger.info("no title from the model of agent %s: %s", agent.pk, error)
        return ""


def _config(model_config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: model_config[name] for name in _KEPT if name in model_config}
    return {**kept, "max_tokens": OUTPUT_TOKENS, "think": False}


def _ignore(kind: DeltaType, text: str) -> None:
    """Nobody watches a title being written."""


def clean(text: str) -> str:
    """One line of at most 80 characters, without quotation marks around it and without control characters."""
    line = next((line for line in text.splitlines() if line.strip(_QUOTES)), "")
    line = _MARKUP.sub("", "".join(character if character.isprintable() else " " for character in line))
    words = " ".join(line.strip(_QUOTES).split())
    if len(words) <= TITLE_MAX_CHARACTERS:
        return words
    shortened = words[: TITLE_MAX_CHARACTERS - 1]
    return (shortened.rpartition(" ")[0] or shortened).rstrip(" ,;:.-") + "…"
