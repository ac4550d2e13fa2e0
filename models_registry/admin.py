"""What the admin has of backends, and where the ledger's tags of them lead to."""

from django.contrib import admin

from maintenance.console import links
from models_registry.console.backends import BackendAdmin
from models_registry.console.pulls import PullAdmin
from models_registry.models import BackendRecord, Pull

admin.site.register(BackendRecord, BackendAdmin)
admin.site.register(Pull, PullAdmin)

links.PAGES["backend"] = "admin:models_of"
links.PAGES["pull"] = "admin:models_registry_pull_change"
