from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate

from chinese_worker import roles


class ConsoleConfig(AdminConfig):
    """Django's admin, with our site as the default one."""

    default_site = "chinese_worker.console.site.ConsoleSite"

    def ready(self) -> None:
        super().ready()
        post_migrate.connect(roles.grant, dispatch_uid="chinese_worker.roles")
