"""What the server's processes run with in these tests: its own settings, and the tests' menu of job functions."""

from chinese_worker.settings import *  # noqa: F403
from chinese_worker.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.maintenance"]
