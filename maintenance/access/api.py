"""Signing in and out over the API, and a user's own tokens."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from maintenance.access import accounts, audit, scopes, tokens
from maintenance.access.authentication import token_of, user_of
from maintenance.access.scopes import Scope
from maintenance.errors import Invalid
from maintenance.http import LoginThrottle
from maintenance.http.serializers import Body
from maintenance.models import ApiToken


class UserSerializer(serializers.ModelSerializer[User]):
    name = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["id", "name", "email"]

    def get_name(self, user: User) -> str:
        return user.get_full_name() or user.username


class SignedInSerializer(serializers.Serializer[Any]):
    user = UserSerializer()
    token = serializers.CharField()


class NoticeSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()


class LoginBody(Body):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class RegisterBody(LoginBody):
    name = serializers.CharField(max_length=150)
    # It is the user name too, which is shorter than an address may be.
    email = serializers.EmailField(max_length=150)


def _sign_in(request: Request, user: User, verb: str) -> dict[str, Any]:
    name = request.headers.get("User-Agent", "")[:90] or "unnamed client"
    token, text = tokens.issue(user, f"login: {name}"[:100])
    audit.record(verb, f"user:{user.pk}", actor=user, address=audit.address_of(request), detail={"token": token.pk})
    return {"user": UserSerializer(user).data, "token": text}


class LoginView(APIView):
    """A token for an e-mail address and a password."""

    authentication_classes = []
    permission_classes = []
    throttle_classes = [LoginThrottle]

    @extend_schema(request=LoginBody, responses=SignedInSerializer, auth=[])
    def post(self, request: Request) -> Response:
        body = LoginBody(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            user = accounts.authenticate(**body.validated_data)
        except Invalid:
            audit.record("login", "unknown", actor=None, address=audit.address_of(request), result="refused")
            raise
        return Response(_sign_in(request, user, "login"))


class RegisterView(APIView):
    """A new account, where the operator has opened registration."""

    authentication_classes = []
    permission_classes = []
    throttle_classes = [LoginThrottle]

    @extend_schema(request=RegisterBody, responses={201: SignedInSerializer}, auth=[])
    def post(self, request: Request) -> Response:
        accounts.require_open_registration()
        body = RegisterBody(data=request.data)
        body.is_valid(raise_exception=True)
        user = accounts.register(**body.validated_data)
        return Response(_sign_in(request, user, "register"), status=201)


class LogoutView(APIView):
    """Revokes the token that the request came with, or ends its session."""

    required_scopes = {"POST": None}

    @extend_schema(request=None, responses=NoticeSerializer)
    def post(self, request: Request) -> Response:
        if token := token_of(request):
            tokens.revoke(token)
        else:
            logout(request._request)
        return Response({"message": "Logged out."})


class CurrentUserView(APIView):
    required_scopes = {"GET": None}

    @extend_schema(responses=UserSerializer)
    def get(self, request: Request) -> Response:
        return Response(UserSerializer(user_of(request)).data)


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    scopes = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = ApiToken
        fields = ["id", "name", "scopes", "created_at", "last_used_at", "expires_at"]


class NewTokenSerializer(TokenSerializer):
    token = serializers.CharField(help_text="shown this once")

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "token"]


class TokenBody(Body):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.ChoiceField(list(Scope)), min_length=1)
    expires_in_days = serializers.IntegerField(
        min_value=1, max_value=365, required=False, help_text="without it the token lives as long as a login's"
    )


class TokensView(generics.ListAPIView[ApiToken]):
    """A user's live tokens."""

    serializer_class = TokenSerializer
    queryset = ApiToken.objects.none()
    required_scopes = {"GET": Scope.MANAGE, "POST": Scope.MANAGE}

    def get_queryset(self) -> QuerySet[ApiToken]:
        return _live_tokens(user_of(self.request))

    @extend_schema(request=TokenBody, responses={201: NewTokenSerializer})
    def post(self, request: Request) -> Response:
        """Make a token; it can have no scope that the asking one lacks."""
        body = TokenBody(data=request.data)
        body.is_valid(raise_exception=True)
        days = body.validated_data.get("expires_in_days")
        token, text = tokens.issue(
            user_of(request),
            body.validated_data["name"],
            granted=_grantable(request, body.validated_data["scopes"]),
            lifetime=timedelta(days=days) if days else None,
        )
        audit.record("token.create", f"token:{token.pk}", actor=user_of(request), address=audit.address_of(request))
        return Response({**TokenSerializer(token).data, "token": text}, status=201)


class TokenView(APIView):
    required_scopes = {"DELETE": Scope.MANAGE}

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Revoke a token; from then on it is unknown."""
        token = get_object_or_404(_live_tokens(user_of(request)), pk=pk)
        tokens.revoke(token)
        audit.record("token.revoke", f"token:{token.pk}", actor=user_of(request), address=audit.address_of(request))
        return Response(status=204)


def _live_tokens(user: User) -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(user=user, revoked_at__isnull=True).exclude(expires_at__lte=timezone.now())


def _grantable(request: Request, wanted: list[Scope]) -> list[Scope]:
    user, token = user_of(request), token_of(request)
    held = token.scopes if token else scopes.of_user(user)
    if missing := [scope for scope in wanted if not scopes.allows(user, held, scope)]:
        raise Invalid("You cannot give what you do not have.", errors={"scopes": [str(scope) for scope in missing]})
    return list(dict.fromkeys(wanted))
