"""`/api/v1/ai-backends/{backend}/models`: the models of a backend, as the registry knows them."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from maintenance.access import audit
from maintenance.access.authentication import user_of
from maintenance.access.permissions import MANAGED
from maintenance.errors import Refusal
from models_registry import catalog, health, inventory, limits, records
from models_registry.api import STATUSES
from models_registry.backends.base import Health
from models_registry.backends.settings import BackendSettings
from models_registry.models import Model

Shape = dict[str, Any]
DETAILS = (
    "size_bytes", "family", "parameter_size", "quantisation", "loaded_context_length", "capabilities", "digest",
    "loaded", "modified_at", "synced_at",
)  # fmt: skip


class ModelSerializer(serializers.Serializer[Any]):
    """Everything but the first three only in detail; null and absent mean that it is not known."""

    name = serializers.CharField()
    backend = serializers.CharField()
    is_default = serializers.BooleanField()
    context_length = serializers.IntegerField(required=False, allow_null=True, help_text="tokens")
    max_tokens = serializers.IntegerField(required=False, allow_null=True, help_text="longest reply, in tokens")
    size_bytes = serializers.IntegerField(required=False, allow_null=True)
    family = serializers.CharField(required=False, allow_null=True)
    parameter_size = serializers.CharField(required=False, allow_null=True, help_text="such as 7.6B")
    quantisation = serializers.CharField(required=False, allow_null=True)
    loaded_context_length = serializers.IntegerField(
        required=False, allow_null=True, help_text="tokens, of the window that it is in memory with"
    )
    capabilities = serializers.ListField(
        child=serializers.CharField(), required=False, allow_null=True, help_text="such as tools, vision, thinking"
    )
    digest = serializers.CharField(required=False, allow_null=True)
    loaded = serializers.BooleanField(required=False, allow_null=True, help_text="whether it is in memory")
    modified_at = serializers.DateTimeField(required=False, allow_null=True)
    synced_at = serializers.DateTimeField(required=False, allow_null=True, help_text="when the backend said so")


# Not a class: its field `data` would hide the attribute of that name.
MODELS = inline_serializer(
    "BackendModels",
    {
        "models": ModelSerializer(many=True),
        "data": ModelSerializer(many=True, help_text="the same list"),
        "status": serializers.ChoiceField(choices=STATUSES),
        "error": serializers.CharField(required=False),
    },
)


class RefreshSerializer(serializers.Serializer[Any]):
    backend = serializers.CharField()
    status = serializers.CharField(help_text="of the job")
    job_id = serializers.CharField()


class ModelsView(APIView):
    """The models of a backend: those of the registry, or what was last heard where it has none yet."""

    @extend_schema(
        operation_id="ai_backends_models_list",
        responses=MODELS,
        parameters=[OpenApiParameter("detailed", bool, description="add what is known of each")],
    )
    def get(self, request: Request, backend: str) -> Response:
        chosen = catalog.known(backend)
        seen = _seen(chosen)
        rows = {row.name: row for row in Model.objects.filter(backend=chosen.name)}
        detailed = request.query_params.get("detailed", "0").lower() in ("", "1", "true", "yes")
        models = [_model(chosen, name, rows.get(name), detailed=detailed) for name in rows or seen.models]
        shape = {"models": models, "data": models, "status": seen.status}
        return Response({**shape, "error": seen.error} if seen.error else shape)


class ModelsRefreshView(APIView):
    required_scopes = MANAGED

    @extend_schema(operation_id="ai_backends_models_refresh", request=None, responses={202: RefreshSerializer})
    def post(self, request: Request, backend: str) -> Response:
        """Have a job ask the backend for its models; asked twice, it is the same job."""
        job = inventory.refresh(backend, user_of(request), address=audit.address_of(request))
        return Response({"backend": catalog.known(backend).name, "status": job.status, "job_id": job.pk}, status=202)


class ModelView(APIView):
    """One model; its name may hold `/` and `:`."""

    required_scopes = MANAGED

    @extend_schema(responses=ModelSerializer)
    def get(self, request: Request, backend: str, model: str) -> Response:
        return Response(_known_model(catalog.known(backend), model))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, backend: str, model: str) -> Response:
        """Remove the model from its server. Needs the permission `models_registry.delete_model`."""
        _demand(request, inventory.DELETE)
        inventory.delete(backend, model, user_of(request), address=audit.address_of(request))
        return Response(status=204)


class ModelUnloadView(APIView):
    required_scopes = MANAGED

    @extend_schema(operation_id="ai_backends_models_unload", request=None, responses=ModelSerializer)
    def post(self, request: Request, backend: str, model: str) -> Response:
        """Free the memory that the model takes. Needs the permission `models_registry.change_model`."""
        _demand(request, inventory.CHANGE)
        inventory.unload(backend, model, user_of(request), address=audit.address_of(request))
        return Response(_known_model(catalog.known(backend), model))


def _seen(chosen: BackendSettings) -> Health:
    return health.of({chosen.name: chosen})[chosen.name].health


def _demand(request: Request, permission: str) -> None:
    if not user_of(request).has_perm(permission):
        raise PermissionDenied(f"This needs the permission {permission}.")


def _known_model(chosen: BackendSettings, model: str) -> Shape:
    """Raises Refusal, 404."""
    row = records.known(chosen.name, model)
    if row is not None:
        return _model(chosen, row.name, row, detailed=True)
    listed = () if Model.objects.filter(backend=chosen.name).exists() else _seen(chosen).models
    if model not in listed:
        raise Refusal(f"{chosen.name} does not list the model {model!r}.", code="not_found", status_code=404)
    return _model(chosen, model, None, detailed=True)


def _model(chosen: BackendSettings, name: str, row: Model | None, *, detailed: bool) -> Shape:
    shape = {"name": name, "backend": chosen.name, "is_default": records.is_meant(name, chosen.model)}
    return {**shape, **_details(chosen, name, row)} if detailed else shape


def _details(chosen: BackendSettings, name: str, row: Model | None) -> Mapping[str, Any]:
    rule = limits.rule(name)
    window = chosen.context_length or (row.context_length if row else 0) or rule.context_length
    told = {column: getattr(row, column) if row else None for column in DETAILS}
    unknown = {column: None for column, value in told.items() if value in ("", 0) and value is not False}
    return {"context_length": window or None, "max_tokens": rule.max_tokens or None, **told, **unknown}
