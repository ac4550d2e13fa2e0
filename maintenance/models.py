"""The job ledger, which is the truth about all work, and what every API needs: tokens, audit, idempotency."""

import itertools
import secrets
import time

from django.conf import settings
from django.db import models
from django.db.models import Q

_numbers = itertools.count()


def new_job_id() -> str:
    """32 hex digits that sort by creation time, so that the index on them grows at one end.

    Those of one process sort by creation within a millisecond too: jobs of a concurrency key start in that order.
    """
    return f"{int(time.time() * 1000):012x}{next(_numbers) & 0xFFFFFF:06x}{secrets.token_hex(7)}"


class Job(models.Model):
    """One row in the ledger: a call of a job function that must happen. See docs/job-lifecycle.md."""

    class Status(models.TextChoices):
        PENDING = "pending", "pending"  # committed, not pushed
        SCHEDULED = "scheduled", "scheduled"  # not before its time
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    UNFINISHED = (Status.PENDING, Status.SCHEDULED, Status.QUEUED, Status.RUNNING)
    WAITING = (Status.PENDING, Status.SCHEDULED, Status.QUEUED)

    id = models.CharField(primary_key=True, max_length=32, default=new_job_id, editable=False)
    name = models.CharField(max_length=100)
    queue = models.CharField(max_length=32)
    arguments = models.JSONField(default=dict)
    tags = models.JSONField(default=list)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0, help_text="executions that the job's own error ended")
    recoveries = models.PositiveIntegerField(default=0, help_text="executions lost with their worker")
    max_attempts = models.PositiveIntegerField()
    max_recoveries = models.PositiveIntegerField(default=3)
    timeout_seconds = models.PositiveIntegerField()
    not_before = models.DateTimeField(null=True)
    unique_key = models.CharField(max_length=200, default="", blank=True)
    concurrency_key = models.CharField(max_length=200, default="", blank=True)
    concurrency_limit = models.PositiveIntegerField(default=1, help_text="unfinished pushes with this key at a time")
    batch = models.ForeignKey("Batch", null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    starts = models.PositiveIntegerField(default=0, help_text="executions begun")
    dispatch = models.PositiveIntegerField(default=0, help_text="how often it was pushed; only the last push may start")
    lease_token = models.CharField(max_length=32, default="", blank=True)
    lease_expires_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    progress = models.JSONField(default=dict)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="jobs", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)
    pushed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, default="", blank=True, help_text="safe to show")
    error_fingerprint = models.CharField(max_length=16, default="", blank=True)

    class Meta:
        db_table = "jobs"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["status", "-id"], name="jobs_by_status"),
            models.Index(fields=["queue", "-id"], name="jobs_by_queue"),
            models.Index(fields=["name", "-id"], name="jobs_by_name"),
            models.Index(
                fields=["status", "pushed_at"],
                condition=Q(status__in=["pending", "scheduled", "queued", "running"]),
                name="jobs_unfinished",
            ),
            models.Index(
                fields=["concurrency_key"],
                condition=~Q(concurrency_key="") & Q(status__in=["pending", "scheduled", "queued", "running"]),
                name="jobs_concurrency_key",
            ),
            models.Index(fields=["error_fingerprint"], condition=~Q(error_fingerprint=""), name="jobs_fingerprint"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["unique_key"],
                condition=~Q(unique_key="") & Q(status__in=["pending", "scheduled", "queued", "running"]),
                name="jobs_unique_key_of_unfinished",
            )
        ]
        permissions = [
            ("retry_job", "Can retry jobs"),
            ("pause_queue", "Can pause queues"),
            ("terminate_worker", "Can terminate workers"),
            ("configure_console", "Can configure"),
            ("view_operations", "Can see the operations pages"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class JobTag(models.Model):
    """A word that jobs are found by, such as `conversation:7`: a row each, so that a million jobs can be searched."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="tag_rows")
    tag = models.CharField(max_length=100)

    class Meta:
        db_table = "job_tags"
        constraints = [models.UniqueConstraint(fields=["tag", "job"], name="job_tags_once")]

    def __str__(self) -> str:
        return self.tag


class Batch(models.Model):
    """Jobs that are tracked together. Its counters are written in the transactions that end its jobs."""

    class Status(models.TextChoices):
        RUNNING = "running", "running"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    id = models.CharField(primary_key=True, max_length=32, default=new_job_id, editable=False)
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.RUNNING)
    total = models.PositiveIntegerField()
    pending = models.PositiveIntegerField(help_text="jobs that have not ended")
    failed = models.PositiveIntegerField(default=0)
    allow_failures = models.BooleanField(default=False)
    then_call = models.JSONField(null=True, help_text="job function and arguments, run when all succeeded")
    catch_call = models.JSONField(null=True, help_text="run once, on the first failure")
    finally_call = models.JSONField(null=True, help_text="run when the last job has ended")
    caught = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "batches"
        ordering = ["-id"]
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return self.name


class QueuePause(models.Model):
    """A queue from which no worker takes jobs. A row is there while, or since, it is paused; `until` null: for good."""

    queue = models.CharField(primary_key=True, max_length=32)
    reason = models.CharField(max_length=500)
    paused_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    paused_at = models.DateTimeField(auto_now_add=True)
    until = models.DateTimeField(null=True)

    class Meta:
        db_table = "queue_pauses"

    def __str__(self) -> str:
        return self.queue


class ScheduledTask(models.Model):
    """What an operator set about a task of SCHEDULE, which lives in the settings. No row: nothing was set."""

    name = models.CharField(primary_key=True, max_length=100)
    paused_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    paused_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        db_table = "scheduled_tasks"

    def __str__(self) -> str:
        return self.name


class ScheduleSlot(models.Model):
    """One time at which a task was due. The unique pair of task and time lets it fire once, whoever tries."""

    class Result(models.TextChoices):
        FIRED = "fired", "fired"
        SKIPPED_OVERLAP = "skipped_overlap", "skipped: the last one still runs"
        SKIPPED_PAUSED = "skipped_paused", "skipped: paused"
        MISSED = "missed", "missed"

    task = models.CharField(max_length=100)
    due_at = models.DateTimeField()
    result = models.CharField(max_length=16, choices=Result.choices)
    fired_by = models.CharField(max_length=150, help_text="the leader, cron, or who ran it now")
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "schedule_slots"
        ordering = ["-due_at"]
        constraints = [models.UniqueConstraint(fields=["task", "due_at"], name="schedule_slots_once")]

    def __str__(self) -> str:
        return f"{self.task} at {self.due_at}"


class Attempt(models.Model):
    """One execution of a job, with what became of it and what it cost."""

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"  # the job's own error
        TIMEOUT = "timeout", "timeout"
        LOST = "lost", "lost"  # its worker died
        MEMORY_LIMIT = "memory_limit", "memory limit"
        HANDED_BACK = "handed_back", "handed back"
        CANCELLED = "cancelled", "cancelled"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="executions")
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=100)
    host = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    lease_token = models.CharField(max_length=32, unique=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, choices=Outcome.choices, default="", blank=True)
    exception_class = models.CharField(max_length=200, default="", blank=True)
    message = models.TextField(default="", blank=True)
    traceback = models.TextField(default="", blank=True)
    wait_seconds = models.FloatField(null=True)
    run_seconds = models.FloatField(null=True)
    cpu_seconds = models.FloatField(null=True)
    peak_memory_bytes = models.BigIntegerField(null=True)

    class Meta:
        db_table = "job_attempts"
        ordering = ["job", "number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="job_attempts_number")]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}"


class Lease(models.Model):
    """Who may do a thing that only one process may do at a time; `fencing` grows with every new holder."""

    name = models.CharField(primary_key=True, max_length=50)
    holder = models.CharField(max_length=150, default="", blank=True)
    fencing = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "leases"

    def __str__(self) -> str:
        return f"{self.name}: {self.holder}"


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is stored; it was shown once when it was made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="moves on while the token is used")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "api_tokens"
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} of {self.user_id}"


class IdempotentRequest(models.Model):
    """The answer that was given to a POST with an `Idempotency-Key`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body")
    status_code = models.PositiveSmallIntegerField(null=True, help_text="null while the first request is under way")
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "idempotent_requests"
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotent_requests_key")]
        indexes = [models.Index(fields=["created_at"], name="idempotent_requests_age")]

    def __str__(self) -> str:
        return f"{self.key} of {self.user_id}"


class AuditEntry(models.Model):
    """Who did what to which object, from where, with what result. Never changed."""

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    verb = models.CharField(max_length=50)
    target = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True)
    result = models.CharField(max_length=200, default="")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        db_table = "audit_entries"
        ordering = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


class CacheEntry(models.Model):
    """One value of the shared cache, as JSON."""

    key = models.CharField(primary_key=True, max_length=255)
    value = models.JSONField(null=True)
    expires_at = models.DateTimeField(null=True, db_index=True, help_text="null: kept until it is deleted")

    class Meta:
        db_table = "cache_entries"

    def __str__(self) -> str:
        return self.key
