"""What workers run with in the benchmarks of the queues: the project's settings and job functions to measure."""

from chinese_worker.settings import *  # noqa: F403
from chinese_worker.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]
