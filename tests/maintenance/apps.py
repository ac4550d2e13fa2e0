from django.apps import AppConfig


class MenuConfig(AppConfig):
    """Lets a worker's process find the tests' job functions."""

    name = "tests.maintenance"
    label = "menu"
