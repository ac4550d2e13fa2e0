"""Finding what belongs to whoever asks: anything else is not there."""

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.urls import reverse
from rest_framework.request import Request

from conversations.models import Conversation, Run
from maintenance.access.authentication import user_of


def conversations_of(request: Request) -> QuerySet[Conversation]:
    return Conversation.objects.filter(user=user_of(request))


def conversation_of(request: Request, pk: int) -> Conversation:
    return get_object_or_404(conversations_of(request).select_related("agent"), pk=pk)


def runs_of(request: Request) -> QuerySet[Run]:
    return Run.objects.filter(conversation__user=user_of(request))


def path_of(conversation_id: int, tail: str) -> str:
    """Absolute path, without a host, of something of a conversation: `/api/v1/conversations/7/status`."""
    return f"{reverse('conversation', args=[conversation_id])}/{tail}"
