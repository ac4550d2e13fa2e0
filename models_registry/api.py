"""`/api/v1/ai-backends`: which backends there are, how they are, and which models they serve."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from maintenance.errors import Refusal
from models_registry import catalog, health, limits
from models_registry.backends.settings import BackendSettings
from models_registry.health import Checked

Shape = dict[str, Any]
STATUSES = ["available", "unreachable", "misconfigured"]


class CapabilitiesSerializer(serializers.Serializer[Any]):
    streaming = serializers.BooleanField()
    function_calling = serializers.BooleanField()
    vision = serializers.BooleanField()
    model_management = serializers.BooleanField()


class BackendSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    driver = serializers.CharField()
    is_default = serializers.BooleanField()
    model = serializers.CharField(help_text="its default model; may be empty")
    status = serializers.ChoiceField(choices=STATUSES)
    checked_at = serializers.DateTimeField()
    capabilities = CapabilitiesSerializer()
    error = serializers.CharField(required=False)


class ModelSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    backend = serializers.CharField()
    is_default = serializers.BooleanField()
    context_length = serializers.IntegerField(required=False, allow_null=True, help_text="tokens")
    max_tokens = serializers.IntegerField(required=False, allow_null=True, help_text="longest reply, in tokens")


# Not classes: their field `data` would hide the attribute of that name.
BACKENDS = inline_serializer(
    "Backends",
    {
        "backends": BackendSerializer(many=True),
        "default_backend": serializers.CharField(),
        "data": BackendSerializer(many=True, help_text="the same list"),
    },
)
MODELS = inline_serializer(
    "BackendModels",
    {
        "models": ModelSerializer(many=True),
        "data": ModelSerializer(many=True, help_text="the same list"),
        "status": serializers.ChoiceField(choices=STATUSES),
        "error": serializers.CharField(required=False),
    },
)


class BackendsView(APIView):
    """Every configured backend with its health as last seen; no request waits for a dead server."""

    @extend_schema(operation_id="ai_backends_list", responses=BACKENDS)
    def get(self, request: Request) -> Response:
        configured = catalog.configured()
        checked = health.statuses(configured)
        backends = [_backend(configured[name], checked[name]) for name in configured]
        return Response({"backends": backends, "default_backend": catalog.default_name(), "data": backends})


class BackendView(APIView):
    """One backend, by its name or an alias of it."""

    @extend_schema(responses=BackendSerializer)
    def get(self, request: Request, backend: str) -> Response:
        chosen = _find(backend)
        return Response(_backend(chosen, health.status(chosen.name)))


class ModelsView(APIView):
    """The models that a backend lists, as last seen."""

    @extend_schema(
        operation_id="ai_backends_models_list",
        responses=MODELS,
        parameters=[OpenApiParameter("detailed", bool, description="add the limits that are known")],
    )
    def get(self, request: Request, backend: str) -> Response:
        chosen = _find(backend)
        seen = health.status(chosen.name).health
        detailed = request.query_params.get("detailed", "0").lower() in ("", "1", "true", "yes")
        models = [_model(chosen, name, detailed) for name in seen.models]
        shape = {"models": models, "data": models, "status": seen.status}
        return Response({**shape, "error": seen.error} if seen.error else shape)


class ModelView(APIView):
    """One model; its name may hold `/` and `:`."""

    @extend_schema(responses=ModelSerializer)
    def get(self, request: Request, backend: str, model: str) -> Response:
        chosen = _find(backend)
        if model not in (chosen.model, *health.status(chosen.name).health.models):
            raise Refusal(f"{chosen.name} does not list the model {model!r}.", code="not_found", status_code=404)
        return Response(_model(chosen, model, detailed=True))


def _find(name: str) -> BackendSettings:
    chosen = catalog.find(name)
    if chosen is None:
        raise Refusal(f"There is no backend {name!r}.", code="not_found", status_code=404)
    return chosen


def _backend(chosen: BackendSettings, checked: Checked) -> Shape:
    can = catalog.backend(chosen).capabilities
    shape = {
        "name": chosen.name,
        "driver": chosen.driver,
        "is_default": chosen.name == catalog.default_name(),
        "model": chosen.model,
        "status": checked.health.status,
        "checked_at": checked.checked_at,
        "capabilities": CapabilitiesSerializer(can).data,
    }
    return {**shape, "error": checked.health.error} if checked.health.error else shape


def _model(chosen: BackendSettings, name: str, detailed: bool) -> Shape:
    shape = {"name": name, "backend": chosen.name, "is_default": name == chosen.model}
    if not detailed:
        return shape
    rule = limits.rule(name)
    window = chosen.context_length or rule.context_length
    return {**shape, "context_length": window or None, "max_tokens": rule.max_tokens or None}
