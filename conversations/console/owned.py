"""Things that belong to a user, in the console."""

from typing import Any

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest

from maintenance.console.audited import AuditedAdmin
from maintenance.console.lists import CappedPaginator
from maintenance.templatetags import console


class OwnedAdmin(AuditedAdmin):
    """Whoever adds one owns it, and keeps it when others change it."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by = ()
    list_select_related = ("user",)
    prepopulated_fields = {"slug": ("name",)}
    save_on_top = False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.owner = obj.user if obj else request.user  # type: ignore[attr-defined]
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: "ModelForm[Any]", change: bool) -> None:
        if not change:
            obj.user = request.user
        super().save_model(request, obj, form, change)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        """A slug is made from the name once: later it is an address that somebody may use."""
        return {} if obj else dict(self.prepopulated_fields)

    @admin.display(description="changed")
    def changed(self, obj: Any) -> str:
        return console.ago(obj.updated_at)
