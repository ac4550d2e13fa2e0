"""Leases are kept alive, whatever happens to the connection that does it."""

import threading

import pytest
from django.db import connection
from pytest_django import Settings

from maintenance.heartbeat import Heartbeat
from maintenance.models import Job


@pytest.fixture
def often(settings: Settings) -> None:
    settings.LEASE_RENEWAL_SECONDS = 0.02


@pytest.mark.django_db(transaction=True)
def test_a_renewal_that_failed_is_tried_again_with_a_new_connection(often: None) -> None:
    renewed = threading.Event()
    tries: list[int] = []

    def renew() -> bool:
        tries.append(1)
        if len(tries) == 1:  # as when the database was started anew
            connection.ensure_connection()
            connection.connection.close()
        Job.objects.exists()
        renewed.set()
        return True

    with Heartbeat(renew):
        assert renewed.wait(10)
    assert len(tries) > 1


def test_nothing_is_renewed_once_the_job_is_over(often: None) -> None:
    begun = threading.Event()
    over = False
    late: list[bool] = []

    def renew() -> bool:
        begun.set()
        late.append(over)
        return True

    with Heartbeat(renew):
        assert begun.wait(10)
    over = True
    threading.Event().wait(0.2)
    assert not any(late)


def test_a_renewal_that_joins_later_is_called_too(often: None) -> None:
    called = threading.Event()

    def renew() -> bool:
        called.set()
        return True

    with Heartbeat(lambda: True) as heartbeat:
        heartbeat.also(renew)
        assert called.wait(10)
        heartbeat.no_longer(renew)
