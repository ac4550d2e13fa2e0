from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ModelsRegistryConfig(AppConfig):
    name = "models_registry"

    def ready(self) -> None:
        autodiscover_modules("checks")
