"""Who tends the whole system: one process at a time, by a lease in the database.

In the database and not in Redis, because what the leader mends includes Redis having lost everything. Two leaders for
a moment would do no harm: each step of theirs is a conditional update.
"""

from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from maintenance.models import Lease

LEADER = "leader"
HELD_FOR = timedelta(seconds=15)


def lead(holder: str) -> bool:
    """Take or keep the lead. True where `holder` leads now."""
    now = timezone.now()
    lease = Lease.objects.filter(name=LEADER)
    if lease.filter(holder=holder, expires_at__gt=now).update(expires_at=now + HELD_FOR):
        return True
    free = lease.filter(Q(expires_at__lte=now) | Q(holder=""))
    if free.update(holder=holder, expires_at=now + HELD_FOR, fencing=F("fencing") + 1):
        return True
    if lease.exists():
        return False
    return Lease.objects.get_or_create(name=LEADER, defaults={"holder": holder, "expires_at": now + HELD_FOR})[1]


def resign(holder: str) -> None:
    """Let another process take over at once."""
    Lease.objects.filter(name=LEADER, holder=holder).update(holder="", expires_at=timezone.now())


def leader() -> str:
    """Who leads now; empty where nobody does."""
    held = Lease.objects.filter(name=LEADER, expires_at__gt=timezone.now()).first()
    return held.holder if held else ""
