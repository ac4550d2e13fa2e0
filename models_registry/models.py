"""Backends that operators add, the models that each backend serves, and their pulls. See docs/models.md."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from maintenance.models import new_job_id


class Driver(models.TextChoices):
    """Whose protocol a backend speaks."""

    OLLAMA = "ollama", "Ollama"
    OPENAI = "openai", "OpenAI-compatible"
    ANTHROPIC = "anthropic", "Anthropic"
    FAKE = "fake", "fake (scripted replies)"


class BackendRecord(models.Model):
    """A backend that an operator added. Those that the environment names are not rows: see `catalog`."""

    name = models.SlugField(max_length=100, unique=True)
    driver = models.CharField(max_length=16, choices=Driver.choices)
    base_url = models.CharField(max_length=500, default="", blank=True)
    encrypted_key = models.TextField(default="", blank=True, editable=False)
    model = models.CharField(max_length=255, default="", blank=True, help_text="for agents that name none")
    options = models.JSONField(default=dict, blank=True, help_text="values for the fields of an agent's model_config")
    context_length = models.PositiveIntegerField(
        default=0, help_text="tokens; a window that no agent can widen; 0: what the server or the model says"
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "ai_backends"
        ordering = ["name"]
        verbose_name = "backend"

    def __str__(self) -> str:
        return self.name


class Model(models.Model):
    """A model that a backend serves, as it said when it was asked last. Zero, empty and null mean: it did not tell."""

    backend = models.CharField(max_length=100, help_text="the backend's name")
    name = models.CharField(max_length=255)
    size_bytes = models.PositiveBigIntegerField(default=0)
    family = models.CharField(max_length=100, default="", blank=True)
    parameter_size = models.CharField(max_length=50, default="", blank=True)
    quantisation = models.CharField(max_length=50, default="", blank=True)
    context_length = models.PositiveIntegerField(default=0, help_text="tokens, the model's own maximum")
    loaded_context_length = models.PositiveIntegerField(default=0, help_text="tokens, of the window it is loaded with")
    capabilities = models.JSONField(null=True, blank=True, help_text="such as completion, tools, vision, thinking")
    digest = models.CharField(max_length=100, default="", blank=True)
    loaded = models.BooleanField(null=True)
    modified_at = models.DateTimeField(null=True, blank=True)
    synced_at = models.DateTimeField()

    class Meta:
        db_table = "ai_models"
        ordering = ["backend", "name"]
        constraints = [models.UniqueConstraint(fields=["backend", "name"], name="ai_models_once")]

    def __str__(self) -> str:
        return f"{self.backend}: {self.name}"


class Pull(models.Model):
    """One download of a model. Its job moves it; see docs/models.md for its states."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        CANCELLING = "cancelling", "cancelling"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    UNFINISHED = (Status.QUEUED, Status.RUNNING, Status.CANCELLING)

    id = models.CharField(primary_key=True, max_length=32, default=new_job_id, editable=False)
    backend = models.CharField(max_length=100)
    model = models.CharField(max_length=255, help_text="normalised: one name for one download")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    job_id = models.CharField(max_length=32, default="", blank=True)
    lease_token = models.CharField(max_length=32, default="", blank=True, help_text="of the execution that moves it")
    phase = models.CharField(max_length=255, default="", blank=True, help_text="what the backend says it is doing")
    completed_bytes = models.PositiveBigIntegerField(default=0)
    total_bytes = models.PositiveBigIntegerField(default=0, help_text="of the layers known so far")
    percentage = models.FloatField(default=0, help_text="0 to 100; never falls")
    speed_bytes_per_second = models.PositiveBigIntegerField(null=True, blank=True)
    eta_seconds = models.PositiveIntegerField(null=True, blank=True)
    layers = models.JSONField(default=list, blank=True, help_text="{digest, total, completed} in order of appearance")
    last_seq = models.PositiveIntegerField(default=0, help_text="number of the last stream event")
    error = models.CharField(max_length=500, default="", blank=True, help_text="safe to show")
    error_code = models.CharField(max_length=64, default="", blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="pulls"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "model_pulls"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["backend", "model"],
                condition=Q(status__in=["queued", "running", "cancelling"]),
                name="model_pulls_one_unfinished",
            )
        ]
        indexes = [
            models.Index(fields=["status", "-id"], name="model_pulls_by_status"),
            models.Index(fields=["created_by", "-id"], name="model_pulls_of_user"),
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.backend}"
