"""`/api/v1/ai-backends`: which backends there are, and how they are."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_registry import catalog, health
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


# Not a class: its field `data` would hide the attribute of that name.
BACKENDS = inline_serializer(
    "Backends",
    {
        "backends": BackendSerializer(many=True),
        "default_backend": serializers.CharField(),
        "data": BackendSerializer(many=True, help_text="the same list"),
    },
)


class BackendsView(APIView):
    """Every configured backend with its health as last seen; no request waits for a dead server."""

    @extend_schema(operation_id="ai_backends_list", responses=BACKENDS)
    def get(self, request: Request) -> Response:
        configured = catalog.configured()
        checked, default = health.of(configured), catalog.default_name()
        backends = [_backend(chosen, checked[name], default) for name, chosen in configured.items()]
        return Response({"backends": backends, "default_backend": default, "data": backends})


class BackendView(APIView):
    """One backend, by its name or an alias of it."""

    @extend_schema(responses=BackendSerializer)
    def get(self, request: Request, backend: str) -> Response:
        chosen = catalog.known(backend)
        return Response(_backend(chosen, health.of({chosen.name: chosen})[chosen.name], catalog.default_name()))


def _backend(chosen: BackendSettings, checked: Checked, default: str) -> Shape:
    can = catalog.capabilities(chosen)
    shape = {
        "name": chosen.name,
        "driver": chosen.driver,
        "is_default": chosen.name == default,
        "model": chosen.model,
        "status": checked.health.status,
        "checked_at": checked.checked_at,
        "capabilities": CapabilitiesSerializer(can).data,
    }
    return {**shape, "error": checked.health.error} if checked.health.error else shape
