"""Who tends the whole system."""

import pytest

from maintenance import leadership
from maintenance.reconciler import Tick
from tests.services import Valkey


@pytest.mark.django_db(transaction=True)
def test_one_process_leads_at_a_time_and_hands_over_when_it_ends(valkey: Valkey) -> None:
    first, second = Tick("first"), Tick("second")
    first()
    second()
    assert (first.leads, second.leads, leadership.leader()) == (True, False, "first")
    first.resign()
    third = Tick("third")
    third()
    assert leadership.leader() == "third"


@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_master_tends_the_system_does_not(valkey: Valkey) -> None:
    tick = Tick("")
    tick()
    tick.resign()
    assert not tick.leads
    assert leadership.leader() == ""
