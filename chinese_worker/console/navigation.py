"""The sidebar: one table of pages, of which everyone sees those they may open."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.urls import reverse

from conversations.console import waiting
from maintenance.models import Job

BADGE_MAX = 999


@dataclass(frozen=True, kw_only=True)
class Page:
    """A line of the sidebar. `permission` is what the page itself asks for."""

    title: str
    icon: str
    view: str
    permission: str
    count: Callable[[], int] | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A page as the template draws it. `badge` is empty where nothing wants attention."""

    title: str
    icon: str
    url: str
    current: bool
    badge: str


def failed_jobs() -> int:
    return Job.objects.filter(status=Job.Status.FAILED).order_by()[: BADGE_MAX + 1].count()


def waiting_runs() -> int:
    return waiting.count(BADGE_MAX)


PAGES: dict[str, tuple[Page, ...]] = {
    "Operate": (
        Page(title="Overview", icon="overview", view="index", permission="maintenance.view_operations"),
        Page(title="Jobs", icon="jobs", view="maintenance_job_changelist", permission="maintenance.view_job"),
        Page(
            title="Failed jobs",
            icon="failed",
            view="maintenance_job_failed",
            permission="maintenance.view_job",
            count=failed_jobs,
        ),
        Page(
            title="Waiting",
            icon="waiting",
            view="waiting",
            permission="conversations.view_run",
            count=waiting_runs,
        ),
        Page(title="Queues", icon="queues", view="queues", permission="maintenance.view_operations"),
        Page(title="RQ dashboard", icon="workers", view="django_rq_home", permission="maintenance.view_operations"),
    ),
    "AI": (
        Page(
            title="Backends",
            icon="backends",
            view="models_registry_backendrecord_changelist",
            permission="models_registry.view_backendrecord",
        ),
        Page(title="Models", icon="models", view="models", permission="models_registry.view_model"),
        Page(
            title="Pulls",
            icon="pulls",
            view="models_registry_pull_changelist",
            permission="models_registry.view_pull",
        ),
    ),
    "Records": (
        Page(
            title="Agents", icon="agents", view="conversations_agent_changelist", permission="conversations.view_agent"
        ),
        Page(title="Tools", icon="tool", view="conversations_tool_changelist", permission="conversations.view_tool"),
        Page(
            title="System prompts",
            icon="prompts",
            view="conversations_systemprompt_changelist",
            permission="conversations.view_systemprompt",
        ),
        Page(
            title="Conversations",
            icon="conversations",
            view="conversations_conversation_changelist",
            permission="conversations.view_conversation",
        ),
        Page(title="Runs", icon="runs", view="conversations_run_changelist", permission="conversations.view_run"),
    ),
    "Access": (
        Page(title="Users", icon="user", view="auth_user_changelist", permission="auth.view_user"),
        Page(title="Groups", icon="groups", view="auth_group_changelist", permission="auth.view_group"),
        Page(
            title="API tokens",
            icon="tokens",
            view="maintenance_apitoken_changelist",
            permission="maintenance.view_apitoken",
        ),
        Page(
            title="Audit",
            icon="audit",
            view="maintenance_auditentry_changelist",
            permission="maintenance.view_auditentry",
        ),
    ),
}


def groups(request: HttpRequest, site_name: str) -> list[tuple[str, list[Line]]]:
    """The groups of the sidebar, with the lines that this user may open."""
    shown = [(title, _lines(request, site_name, pages)) for title, pages in PAGES.items()]
    return [(title, lines) for title, lines in shown if lines]


def _lines(request: HttpRequest, site_name: str, pages: Iterable[Page]) -> list[Line]:
    allowed = [page for page in pages if _may_open(request.user, page)]
    return [_line(request, site_name, page) for page in allowed]


def _may_open(user: User | AnonymousUser, page: Page) -> bool:
    return user.has_perm(page.permission)


def _line(request: HttpRequest, site_name: str, page: Page) -> Line:
    path = reverse(f"{site_name}:{page.view}")
    number = page.count() if page.count else 0
    return Line(
        title=page.title,
        icon=page.icon,
        url=path,
        current=_is_current(request, site_name, path, page),
        badge=f"{BADGE_MAX}+" if number > BADGE_MAX else str(number or ""),
    )


def _is_current(request: HttpRequest, site_name: str, path: str, page: Page) -> bool:
    if page.view == "index":
        return request.path == path
    # The failed jobs stand below the address of the jobs, and below no other.
    longer = [reverse(f"{site_name}:{one.view}") for pages in PAGES.values() for one in pages]
    return request.path.startswith(path) and not any(
        request.path.startswith(other) and len(other) > len(path) for other in longer
    )
