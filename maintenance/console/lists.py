"""Lists that stay fast with a million rows: counted up to a limit, read-only, ordered by their key."""

from functools import cached_property

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

COUNT_MAX = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts `COUNT_MAX` rows and no more: what comes after is reached by filters and search."""

    @cached_property
    def counted(self) -> int:
        rows: QuerySet[Model] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: COUNT_MAX + 1].count()

    @property
    def is_capped(self) -> bool:
        return self.counted > COUNT_MAX

    @cached_property
    def count(self) -> int:
        return min(self.counted, COUNT_MAX)


class CappedList(ChangeList):
    """A list that was counted as empty is not looked for again."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.result_count:
            self.result_list = self.queryset.none()


class RecordAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list of rows that the system writes and people read."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50
    sortable_by = ()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the filters offer: other columns have no index."""
        offered = [getattr(field, "parameter_name", f"{field}__exact") for field in self.list_filter]
        return lookup in offered

    def get_changelist(self, request: HttpRequest, **kwargs: object) -> type[ChangeList]:
        return CappedList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
