"""Who may come in, and what was done: tokens and the audit."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from maintenance.access import audit, tokens
from maintenance.console.lists import RecordAdmin
from maintenance.console.operators import operator
from maintenance.models import ApiToken, AuditEntry
from maintenance.templatetags import console


class ApiTokenAdmin(RecordAdmin):
    """Tokens are made by their users; an administrator sees and revokes them. The token itself is nowhere."""

    list_display = ("name", "user", "state", "scope_list", "used", "made")
    search_fields = ("name", "user__username", "user__email")
    list_select_related = ("user",)
    fields = ("name", "user", "state", "scope_list", "used", "made", "expires_at", "revoked_at")
    readonly_fields = fields
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("maintenance.change_apitoken")

    @admin.display(description="status")
    def state(self, token: ApiToken) -> str:
        expired = token.expires_at is not None and token.expires_at <= timezone.now()
        return console.badge("revoked" if token.revoked_at else "expired" if expired else "active")

    @admin.display(description="scopes")
    def scope_list(self, token: ApiToken) -> str:
        return ", ".join(token.scopes) or console.NOTHING

    @admin.display(description="last used")
    def used(self, token: ApiToken) -> str:
        return console.ago(token.last_used_at)

    @admin.display(description="created")
    def made(self, token: ApiToken) -> str:
        return console.ago(token.created_at)

    @admin.action(description="Revoke the selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: "QuerySet[ApiToken]") -> None:
        revoked = [token for token in queryset if tokens.revoke(token)]
        for token in revoked:
            who, address = operator(request), audit.address_of(request)
            audit.record("token.revoke", f"token:{token.pk}", actor=who, address=address)
        self.message_user(request, f"{len(revoked)} token{'' if len(revoked) == 1 else 's'} revoked.")


class AuditEntryAdmin(RecordAdmin):
    list_display = ("when", "actor", "verb", "target", "address", "result")
    list_display_links = ("verb",)
    search_fields = ("target", "verb", "actor__username")
    list_select_related = ("actor",)
    fields = ("when", "actor", "verb", "target", "detail", "address", "result")
    readonly_fields = fields

    @admin.display(description="when")
    def when(self, entry: AuditEntry) -> str:
        return console.ago(entry.created_at)
