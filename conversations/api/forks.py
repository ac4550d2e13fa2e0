"""Forking a conversation over the API."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations import forks
from conversations.api.conversations import WholeConversationSerializer, whole
from conversations.api.lookup import conversation_of
from maintenance.access.idempotency import idempotent
from maintenance.http import RunThrottle, UserThrottle
from maintenance.http.serializers import Body, Number


class ForkBody(Body):
    """One of the two: the message's position in its conversation, or its id."""

    position = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False)
    message_id = Number(required=False)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if len(values) != 1:
            raise serializers.ValidationError({"position": ["Give either position or message_id."]})
        return values


class ForkView(APIView):
    throttle_classes = [UserThrottle, RunThrottle]  # one copies a whole conversation

    @extend_schema(request=ForkBody, responses={201: WholeConversationSerializer})
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Begin a new conversation with copies of the messages up to this one, as its run saw them."""
        conversation = conversation_of(request, pk)
        body = ForkBody(data=request.data)
        body.is_valid(raise_exception=True)
        position = body.validated_data.get("position")
        if position is None:
            message = get_object_or_404(conversation.messages, pk=body.validated_data["message_id"])
            position = message.position or 0
        return Response(whole(request, forks.fork(conversation, position).pk), status=201)
