"""The roles of operators: groups that every migration completes, whatever new permissions it brought.

A role is only ever completed, never cut: what an administrator adds stays, what one takes away comes back with the
next `migrate`. For less than a role gives, make a group of your own.
"""

from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions

VIEWER = {
    "maintenance": ("view_operations", "view_job", "view_attempt"),
    "conversations": (
        "view_agent", "view_systemprompt", "view_agentprompt", "view_conversation", "view_run", "view_message",
        "view_tool", "view_toolcall", "view_todoitem", "view_snapshot",
    ),
    "models_registry": ("view_backendrecord", "view_model", "view_pull"),
}  # fmt: skip
OPERATOR = {
    "maintenance": ("retry_job", "delete_job", "pause_queue", "terminate_worker"),
    "conversations": (
        "add_agent", "change_agent", "add_systemprompt", "change_systemprompt", "add_agentprompt",
        "change_agentprompt", "delete_agentprompt", "change_conversation", "change_run",
    ),
    "models_registry": ("add_pull", "change_pull", "change_model"),
}  # fmt: skip
ADMINISTRATOR = {
    "maintenance": ("configure_console", "view_apitoken", "change_apitoken", "view_auditentry"),
    "conversations": (
        "delete_agent",
        "delete_systemprompt",
        "delete_conversation",
        "add_tool",
        "change_tool",
        "delete_tool",
    ),
    "models_registry": ("add_backendrecord", "change_backendrecord", "delete_backendrecord", "delete_model"),
    "auth": ("view_user", "add_user", "change_user", "view_group", "add_group", "change_group"),
}
Permissions = Mapping[str, tuple[str, ...]]
ROLES: dict[str, tuple[Permissions, ...]] = {
    "Viewer": (VIEWER,),
    "Operator": (VIEWER, OPERATOR),
    "Administrator": (VIEWER, OPERATOR, ADMINISTRATOR),
}


def grant(app_config: AppConfig, using: str, apps: Apps = installed_apps, **_: Any) -> None:
    """Give the roles what `app_config` has for them. Runs after each app's migrations.

    Permissions are made here first: Django's own handler, which makes them too, may run later.
    """
    try:
        group_model = apps.get_model("auth", "Group")
        permission_model = apps.get_model("auth", "Permission")
    except LookupError:
        return  # a partial migration, from before there were groups
    create_permissions(app_config, verbosity=0, using=using, apps=apps)
    for name, parts in ROLES.items():
        wanted = [codename for part in parts for codename in part.get(app_config.label, ())]
        group, _created = group_model.objects.using(using).get_or_create(name=name)
        group.permissions.add(
            *permission_model.objects.using(using).filter(content_type__app_label=app_config.label, codename__in=wanted)
        )
