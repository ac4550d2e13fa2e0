"""The user's own tools over the API. The values of secret headers go in and never come out."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from conversations import owned_tools
from conversations.models import Tool
from maintenance.access.authentication import user_of
from maintenance.access.idempotency import idempotent
from maintenance.access.permissions import MANAGED
from maintenance.http.serializers import Body, JSONObject

HEADERS_BYTES = 16 * 1024


class ToolSerializer(serializers.ModelSerializer[Tool]):
    """`secret_headers` are the names alone."""

    parameters = JSONObject()
    headers = JSONObject()
    secret_headers = serializers.SerializerMethodField()
    warnings = serializers.SerializerMethodField()

    class Meta:
        model = Tool
        fields = [
            "id", "user_id", "name", "description", "kind", "parameters", "method", "url", "headers", "secret_headers",
            "timeout_seconds", "is_idempotent", "warnings", "created_at", "updated_at",
        ]  # fmt: skip

    def get_secret_headers(self, tool: Tool) -> list[str]:
        return owned_tools.secret_names(tool)

    def get_warnings(self, tool: Tool) -> list[dict[str, Any]]:
        return [dict(one) for one in owned_tools.warnings(tool)]


class ToolBody(Body):
    """`secret_headers` is `{name: value}`; null as a value removes that header, and those that are not named stay."""

    name = serializers.CharField(max_length=64)
    description = serializers.CharField(max_length=20_000)
    kind = serializers.ChoiceField(Tool.Kind.choices, required=False)
    parameters = JSONObject()
    method = serializers.ChoiceField(Tool.Method.choices, required=False)
    url = serializers.CharField(max_length=2000, allow_blank=True, required=False)
    headers = JSONObject(limit=HEADERS_BYTES, required=False)
    secret_headers = JSONObject(limit=HEADERS_BYTES, required=False)
    timeout_seconds = serializers.IntegerField(min_value=1, max_value=120, required=False)
    is_idempotent = serializers.BooleanField(required=False)


def tools_of(request: Request) -> QuerySet[Tool]:
    return Tool.objects.filter(user=user_of(request))


class ToolsView(generics.ListAPIView[Tool]):
    serializer_class = ToolSerializer
    queryset = Tool.objects.none()
    required_scopes = MANAGED

    def get_queryset(self) -> QuerySet[Tool]:
        return tools_of(self.request)

    @extend_schema(request=ToolBody, responses={201: ToolSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        body = ToolBody(data=request.data)
        body.is_valid(raise_exception=True)
        tool = owned_tools.create(user_of(request), body.validated_data)
        return Response(ToolSerializer(tool).data, status=201)


FORCE = OpenApiParameter("force", enum=["1"], description="take it from the agents that use it, instead of 409")


class ToolView(generics.RetrieveAPIView[Tool]):
    """`PUT` and `PATCH` are the same: what is not sent stays."""

    serializer_class = ToolSerializer
    queryset = Tool.objects.none()
    required_scopes = MANAGED

    def get_queryset(self) -> QuerySet[Tool]:
        return tools_of(self.request)

    @extend_schema(request=ToolBody, responses=ToolSerializer)
    def put(self, request: Request, pk: int) -> Response:
        return self.patch(request, pk)

    @extend_schema(request=ToolBody, responses=ToolSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        tool = get_object_or_404(tools_of(request), pk=pk)
        body = ToolBody(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        return Response(ToolSerializer(owned_tools.update(tool, body.validated_data)).data)

    @extend_schema(parameters=[FORCE], responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete it. Agents that use it are named in a 409, unless `force` takes it from them."""
        tool = get_object_or_404(tools_of(request), pk=pk)
        owned_tools.delete(tool, force=request.query_params.get("force") in {"1", "true"})
        return Response(status=204)
