from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

from maintenance.serialization import refuse_pickle


class MaintenanceConfig(AppConfig):
    name = "maintenance"

    def ready(self) -> None:
        refuse_pickle()
        # Before any fork: what a horse imports itself, it imports again and again.
        autodiscover_modules("jobs", "checks")
