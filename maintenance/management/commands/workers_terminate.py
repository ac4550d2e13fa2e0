from django.conf import settings

from maintenance.management.telling import TellingCommand
from maintenance.masters import GONE_SECONDS
from maintenance.masters import Command as Order


class Command(TellingCommand):
    help = "Have the workers finish what they are at, and end. 2: no master of workers runs."
    command, state = Order.TERMINATE, None
    told, done = "told to end", "ended"

    def wait_seconds(self) -> float:
        """As long as a master lets its workers finish, and until the record of one that was killed is gone."""
        return float(settings.WORKERS_DRAIN_SECONDS + GONE_SECONDS)
