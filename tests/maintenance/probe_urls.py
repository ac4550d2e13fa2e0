"""A small API for the tests of what every API shares."""

from itertools import count
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.urls import path
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from maintenance.access.idempotency import idempotent
from maintenance.access.scopes import Scope
from maintenance.errors import Refusal
from maintenance.http import LoginThrottle, RunThrottle
from maintenance.http.serializers import Body, JSONObject
from maintenance.models import AuditEntry, CacheEntry

ERRORS = {
    "refusal": Refusal("Busy.", code="run_active", extra={"run_id": 7}),
    "later": Refusal("Later.", code="too_many_pending", status_code=429),
    "field": Refusal("No.", code="invalid", status_code=422, errors={"name": ["Taken."]}),
    "nested": serializers.ValidationError({"items": [{}, {"name": ["Wrong."]}], "non_field_errors": ["Both."]}),
    "text": serializers.ValidationError("Plain."),
    "http404": Http404("secret path"),
    "denied": PermissionDenied("secret rule"),
    "suspicious": SuspiciousOperation("secret reason"),
    "bug": ValueError("secret value"),
}
made = count(1)


class Raises(APIView):
    def get(self, request: Request, name: str) -> Response:
        raise ERRORS[name]


class EchoBody(Body):
    ignored_fields = ("model",)

    text = serializers.CharField(required=False)
    data = JSONObject(limit=100, required=False)
    frozen = serializers.CharField(read_only=True)


class Echo(APIView):
    def post(self, request: Request) -> Response:
        body = EchoBody(data=request.data)
        body.is_valid(raise_exception=True)
        return Response({"got": body.validated_data, "warnings": body.warnings()})


class EntrySerializer(serializers.ModelSerializer[AuditEntry]):
    class Meta:
        model = AuditEntry
        fields = ["verb"]


class Entries(generics.ListAPIView[AuditEntry]):
    serializer_class = EntrySerializer
    queryset = AuditEntry.objects.order_by("id")


class Makes(APIView):
    """Makes one row for each post that is let through; refuses when told to."""

    @idempotent
    def post(self, request: Request, **kwargs: Any) -> Response:
        key = f"made-{next(made)}"
        CacheEntry.objects.create(key=key, value=request.data)
        if request.data.get("refuse"):
            raise Refusal("Not now.", code="not_now")
        return Response({"key": key}, status=201)


class Scoped(APIView):
    required_scopes = {"PUT": Scope.MANAGE, "DELETE": Scope.OPERATE, "PATCH": None}

    def _answer(self, request: Request) -> Response:
        return Response({"ok": True})

    get = post = put = patch = delete = _answer


class Limited(APIView):
    throttle_classes = [RunThrottle]

    def post(self, request: Request) -> Response:
        return Response({})


class LoginLimited(APIView):
    permission_classes = []
    throttle_classes = [LoginThrottle]

    def post(self, request: Request) -> Response:
        return Response({})


urlpatterns = [
    path("raises/<name>", Raises.as_view()),
    path("echo", Echo.as_view()),
    path("entries", Entries.as_view()),
    path("makes", Makes.as_view()),
    path("makes/<slug:name>", Makes.as_view()),
    path("scoped", Scoped.as_view()),
    path("limited", Limited.as_view()),
    path("login-limited", LoginLimited.as_view()),
]
