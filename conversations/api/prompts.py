"""System prompts over the API: one's own, and those that others share."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations import library, prompts
from conversations.models import Agent, SystemPrompt
from maintenance.access.authentication import user_of
from maintenance.access.idempotency import idempotent
from maintenance.access.permissions import MANAGED
from maintenance.access.scopes import Scope
from maintenance.http.serializers import Body, JSONObject, Number


class PromptSerializer(serializers.ModelSerializer[SystemPrompt]):
    required_variables = serializers.ListField(child=serializers.CharField())
    default_values = JSONObject()

    class Meta:
        model = SystemPrompt
        fields = [
            "id", "user_id", "name", "slug", "template", "required_variables", "default_values", "is_active",
            "is_shared", "created_at", "updated_at",
        ]  # fmt: skip


class PromptBody(Body):
    name = serializers.CharField(max_length=255)
    slug = serializers.SlugField(max_length=255, required=False)
    template = serializers.CharField(max_length=200_000, trim_whitespace=False)
    required_variables = serializers.ListField(
        child=serializers.RegexField(r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100), max_length=100, required=False
    )
    default_values = JSONObject(required=False)
    is_active = serializers.BooleanField(required=False)


class PromptsView(generics.ListAPIView[SystemPrompt]):
    serializer_class = PromptSerializer
    queryset = SystemPrompt.objects.none()
    required_scopes = MANAGED

    def get_queryset(self) -> QuerySet[SystemPrompt]:
        return library.visible_to(user_of(self.request))

    @extend_schema(request=PromptBody, responses={201: PromptSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        body = PromptBody(data=request.data)
        body.is_valid(raise_exception=True)
        prompt = library.create(user_of(request), body.validated_data)
        return Response(PromptSerializer(prompt).data, status=201)


class PromptView(generics.RetrieveAPIView[SystemPrompt]):
    """`PUT` and `PATCH` are the same: what is not sent stays."""

    serializer_class = PromptSerializer
    queryset = SystemPrompt.objects.none()
    required_scopes = MANAGED

    def get_queryset(self) -> QuerySet[SystemPrompt]:
        return library.visible_to(user_of(self.request))

    @extend_schema(request=PromptBody, responses=PromptSerializer)
    def put(self, request: Request, pk: int) -> Response:
        return self.patch(request, pk)

    @extend_schema(request=PromptBody, responses=PromptSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        prompt = self.get_object()
        library.require_owner(prompt, user_of(request))
        body = PromptBody(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        return Response(PromptSerializer(library.update(prompt, body.validated_data)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        prompt = self.get_object()
        library.require_owner(prompt, user_of(request))
        prompt.delete()
        return Response(status=204)


class PreviewBody(Body):
    agent_id = Number(required=False)
    variables = JSONObject(required=False)


class PreviewSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()


class PreviewView(APIView):
    required_scopes = {"POST": Scope.READ}

    @extend_schema(request=PreviewBody, responses=PreviewSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """What the prompt would say for this agent and these variables, or the exact error."""
        prompt = get_object_or_404(library.visible_to(user_of(request)), pk=pk)
        body = PreviewBody(data=request.data)
        body.is_valid(raise_exception=True)
        agent_id = body.validated_data.get("agent_id")
        agent = get_object_or_404(Agent, user=user_of(request), pk=agent_id) if agent_id else None
        return Response({"text": prompts.preview(prompt, agent, body.validated_data.get("variables"))})
