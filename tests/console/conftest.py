"""People in front of the console, and something to look at."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from maintenance import tags
from maintenance.models import Attempt, Job
from tests.maintenance import jobs as menu

Signed = Callable[[User], Client]


@pytest.fixture
def signed_in() -> Signed:
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def bobs(bob: User, signed_in: Signed) -> Client:
    """Bob's browser: he may do everything."""
    return signed_in(bob)


@pytest.fixture
def alices(alice: User, signed_in: Signed) -> Client:
    """Alice's browser. She is staff and has no permission at all."""
    alice.is_staff = True
    alice.save()
    return signed_in(alice)


@pytest.fixture
def with_role(signed_in: Signed, db: None) -> Callable[[str], Client]:
    """The browser of a staff user who has one role and nothing else."""

    def sign_in(role: str) -> Client:
        user = User.objects.create_user(role.lower(), f"{role.lower()}@example.test", "a-password-9", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        return signed_in(user)

    return sign_in


@pytest.fixture
def failed_job(db: None) -> Job:
    """A job of a function that there is, as it stands in the ledger after it failed."""
    now = timezone.now()
    job = Job.objects.create(
        name=menu.write_line.name, queue="default",
        arguments={"path": "/dev/null", "text": "x", "api_key": "sk-secret"},
        tags=["conversation:7"], status=Job.Status.FAILED, attempts=1, starts=1, dispatch=1, max_attempts=1,
        timeout_seconds=30, started_at=now, finished_at=now, error="job_failed: The job failed.",
    )  # fmt: skip
    tags.write([job])
    Attempt.objects.create(
        job=job, number=1, worker="ai-workers/1", host="atlas", pid=42, lease_token="t" * 32, started_at=now,
        finished_at=now, outcome=Attempt.Outcome.FAILED, exception_class="builtins.RuntimeError", message="it broke",
        traceback="Traceback (most recent call last):\n  <script>alert(1)</script>", wait_seconds=0.012,
        run_seconds=1.5, cpu_seconds=0.2, peak_memory_bytes=73_400_320,
    )  # fmt: skip
    return job
