"""Pulls over the API: `/api/v1/ai-backends/{backend}/models/pull`."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import generics, serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from maintenance.access import audit
from maintenance.access.authentication import user_of
from maintenance.access.idempotency import idempotent
from maintenance.access.permissions import MANAGED
from maintenance.http.serializers import Body
from models_registry import catalog, pulls, sight
from models_registry.models import Pull


class PullBody(Body):
    model = serializers.CharField(max_length=255, help_text="letters, digits and _ . : / -")


class LayerSerializer(serializers.Serializer[Any]):
    digest = serializers.CharField()
    total = serializers.IntegerField(help_text="bytes; 0 while it is not known")
    completed = serializers.IntegerField(help_text="bytes; never falls")


class PullSerializer(serializers.ModelSerializer[Pull]):
    pull_id = serializers.CharField(source="id")
    percentage = serializers.SerializerMethodField(help_text="0 to 100; never falls, and is 100 once it is completed")
    completed = serializers.IntegerField(source="completed_bytes")
    total = serializers.IntegerField(source="total_bytes", help_text="bytes of the layers that are known so far")
    layers = LayerSerializer(many=True)
    error = serializers.SerializerMethodField()
    error_code = serializers.SerializerMethodField()
    stream_url = serializers.SerializerMethodField()

    class Meta:
        model = Pull
        fields = [
            "pull_id", "model", "backend", "status", "phase", "percentage", "completed", "total",
            "speed_bytes_per_second", "eta_seconds", "layers", "error", "error_code", "job_id", "stream_url",
            "created_at", "started_at", "finished_at",
        ]  # fmt: skip

    def get_percentage(self, pull: Pull) -> float:
        return round(pull.percentage, 1)

    def get_error(self, pull: Pull) -> str | None:
        return pull.error or None

    def get_error_code(self, pull: Pull) -> str | None:
        return pull.error_code or None

    def get_stream_url(self, pull: Pull) -> str:
        return f"{reverse('ai-backend-pull', args=[pull.backend, pull.pk])}/stream"


def _visible(request: Request, backend: str) -> QuerySet[Pull]:
    """Also those of a backend that is not configured any more."""
    return sight.visible(user_of(request)).filter(backend=catalog.canonical(backend))


def _audit(request: Request, verb: str, pull: Pull) -> None:
    detail = {"backend": pull.backend, "model": pull.model}
    who, address = user_of(request), audit.address_of(request)
    audit.record(verb, f"pull:{pull.pk}", actor=who, address=address, detail=detail)


class PullsView(generics.ListAPIView[Pull]):
    """A backend's pulls, newest first: those that you started; for an operator all of them."""

    required_scopes = MANAGED
    serializer_class = PullSerializer
    queryset = Pull.objects.none()

    def get_queryset(self) -> QuerySet[Pull]:
        return _visible(self.request, catalog.known(self.kwargs["backend"]).name).order_by("-id")

    @extend_schema(
        operation_id="ai_backends_models_pull",
        request=PullBody,
        responses={
            202: PullSerializer,
            200: OpenApiResponse(PullSerializer, description="the model is being pulled already: that pull"),
        },
    )
    @idempotent
    def post(self, request: Request, backend: str) -> Response:
        """Download a model to this backend's server. Needs the permission to pull models."""
        user = user_of(request)
        if not user.has_perm(sight.PULL):
            raise PermissionDenied("You may not pull models; an operator can.")
        body = PullBody(data=request.data)
        body.is_valid(raise_exception=True)
        pull, created = pulls.start(backend, body.validated_data["model"], user)
        _audit(request, "pull.start", pull)
        return Response(PullSerializer(pull).data, status=202 if created else 200)


class PullView(generics.RetrieveAPIView[Pull]):
    """One pull."""

    serializer_class = PullSerializer
    queryset = Pull.objects.none()
    lookup_url_kwarg = "pull_id"

    def get_queryset(self) -> QuerySet[Pull]:
        return _visible(self.request, self.kwargs["backend"])


class PullCancelView(APIView):
    required_scopes = MANAGED

    @extend_schema(request=None, responses=PullSerializer)
    def post(self, request: Request, backend: str, pull_id: str) -> Response:
        """Cancel a pull. One that has ended stays as it is."""
        user = user_of(request)
        pull = get_object_or_404(_visible(request, backend), pk=pull_id)
        if pull.created_by_id != user.pk and not user.has_perm(sight.CANCEL):
            raise PermissionDenied("You may see this pull, not cancel it.")
        pull = pulls.cancel(pull, user)
        _audit(request, "pull.cancel", pull)
        return Response(PullSerializer(pull).data)
