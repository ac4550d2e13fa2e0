"""Agents and what they say: conversations, their messages, and the runs that answer them. See docs/turn.md."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from conversations.fields import OrderedJSONField


class OnBusy(models.TextChoices):
    """What a message does that comes while a run is open."""

    REJECT = "reject", "reject"
    ENQUEUE = "enqueue", "enqueue"
    INTERRUPT = "interrupt", "interrupt"
    STEER = "steer", "steer"


class SystemPrompt(models.Model):
    """A template that agents share. Rendered by Jinja2 in a sandbox."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="system_prompts")
    name = models.CharField(max_length=255)
    slug = models.SlugField(max_length=255)
    template = models.TextField()
    required_variables = models.JSONField(default=list, blank=True)
    default_values = models.JSONField(default=dict, blank=True)
    is_active = models.BooleanField(default=True)
    is_shared = models.BooleanField(default=False, help_text="everyone may use it; only operators share")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "system_prompts"
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "slug"], name="system_prompts_slug")]

    def __str__(self) -> str:
        return self.name


class Tool(models.Model):
    """A tool that its owner defined: an HTTP request made here, or a schema that clients answer."""

    class Kind(models.TextChoices):
        USER = "user", "user"
        CLIENT = "client", "client"

    class Method(models.TextChoices):
        GET = "GET", "GET"
        POST = "POST", "POST"
        PUT = "PUT", "PUT"
        PATCH = "PATCH", "PATCH"
        DELETE = "DELETE", "DELETE"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tools")
    name = models.CharField(max_length=64)
    description = models.TextField()
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.USER)
    parameters = models.JSONField(default=dict, blank=True, help_text="JSON Schema of the arguments, an object")
    method = models.CharField(max_length=8, choices=Method.choices, default=Method.POST)
    url = models.CharField(max_length=2000, default="", blank=True, help_text="{name} stands for an argument")
    headers = models.JSONField(default=dict, blank=True)
    encrypted_headers = models.TextField(
        default="", blank=True, editable=False, help_text="values that never come back"
    )
    timeout_seconds = models.PositiveSmallIntegerField(
        default=30, validators=[MinValueValidator(1), MaxValueValidator(120)]
    )
    is_idempotent = models.BooleanField(default=False, help_text="may be called again where nobody knows if it was")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "tools"
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="tools_name")]

    def __str__(self) -> str:
        return self.name


class Agent(models.Model):
    """A configured assistant: prompts, backend, model and terms."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        INACTIVE = "inactive", "inactive"

    class ToolMode(models.TextChoices):
        AUTO = "auto", "what the backend does best"
        NATIVE = "native", "native"
        JSON_SCHEMA = "json_schema", "JSON schema"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="agents")
    name = models.CharField(max_length=255)
    slug = models.SlugField(max_length=255, unique=True)
    description = models.TextField(default="", blank=True)
    ai_backend = models.CharField(max_length=100, default="", blank=True, help_text="empty: the default backend")
    model_config = models.JSONField(default=dict, blank=True)
    context_variables = models.JSONField(default=dict, blank=True)
    system_prompts: "models.ManyToManyField[SystemPrompt, AgentPrompt]" = models.ManyToManyField(
        SystemPrompt, through="AgentPrompt", related_name="agents"
    )
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    max_turns = models.PositiveSmallIntegerField(
        default=25, validators=[MinValueValidator(1), MaxValueValidator(100)], help_text="turns per run"
    )
    on_busy = models.CharField(max_length=16, choices=OnBusy.choices, default=OnBusy.ENQUEUE)
    tool_mode = models.CharField(max_length=16, choices=ToolMode.choices, default=ToolMode.AUTO)
    system_tools = models.JSONField(
        null=True, blank=True, help_text="names of system tools; null: all that are configured here"
    )
    tools = models.ManyToManyField(Tool, related_name="agents", blank=True, db_table="agent_tools")
    approvals = models.JSONField(default=dict, blank=True, help_text="by a tool's name: never, always or once")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "agents"
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class AgentPrompt(models.Model):
    """A prompt's place in an agent, and the values it gets there."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="prompt_links")
    system_prompt = models.ForeignKey(SystemPrompt, on_delete=models.CASCADE, related_name="agent_links")
    order = models.PositiveSmallIntegerField(default=0)
    variable_overrides = models.JSONField(default=dict, blank=True)

    class Meta:
        db_table = "agent_system_prompts"
        ordering = ["order", "id"]
        constraints = [models.UniqueConstraint(fields=["agent", "system_prompt"], name="agent_system_prompts_once")]

    def __str__(self) -> str:
        return f"{self.system_prompt_id} in {self.agent_id}"


class Conversation(models.Model):
    """The thread. Its status follows its runs; it is written in the transaction that changes a run."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        PAUSED = "paused", "paused"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="conversations")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=255, default="", blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.COMPLETED)
    client_type = models.CharField(max_length=50, default="", blank=True)
    client_tool_schemas = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    turn_count = models.PositiveIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    context_limit = models.PositiveIntegerField(null=True, blank=True)
    approved_tools = models.JSONField(default=list, blank=True, help_text="approved once for the whole conversation")
    forked_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="forks")
    forked_at = models.PositiveIntegerField(null=True, blank=True, help_text="position of the last message taken along")
    started_at = models.DateTimeField(null=True, blank=True)
    last_activity_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "conversations"
        ordering = ["-last_activity_at", "-id"]
        indexes = [
            models.Index(fields=["user", "-last_activity_at", "-id"], name="conversations_of_user"),
            models.Index(fields=["status", "-last_activity_at", "-id"], name="conversations_by_status"),
            models.Index(fields=["-last_activity_at", "-id"], name="conversations_newest"),
        ]

    def __str__(self) -> str:
        return self.title or f"Conversation {self.pk}"


class Run(models.Model):
    """Everything done to answer one user message: a chain of turns. States and transitions: docs/turn.md."""

    class Status(models.TextChoices):
        PENDING = "pending", "pending"  # accepted, waits for the open run; not open
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        WAITING_FOR_TOOL = "waiting_for_tool", "waiting for tool"
        CANCELLING = "cancelling", "cancelling"
        COMPLETED = "completed", "completed"
        INCOMPLETE = "incomplete", "incomplete"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"
        EXPIRED = "expired", "expired"

    # The message that steers it, on the value that `runs.start` answers with.
    steered_by: int | None = None

    class WaitingFor(models.TextChoices):
        NOBODY = "", "nobody"
        APPROVAL = "approval", "approval"
        TOOL_RESULT = "tool_result", "tool result"

    OPEN = (Status.QUEUED, Status.RUNNING, Status.WAITING_FOR_TOOL, Status.CANCELLING)
    TERMINAL = (Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED, Status.EXPIRED)

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="runs")
    user_message = models.ForeignKey("Message", on_delete=models.CASCADE, related_name="answering_runs")
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="retries")
    replay_of = models.ForeignKey("Snapshot", null=True, blank=True, on_delete=models.SET_NULL, related_name="replays")
    status = models.CharField(max_length=20, choices=Status.choices)
    reason = models.CharField(max_length=32, default="", blank=True, help_text="why an incomplete run ended")
    error_code = models.CharField(max_length=64, default="", blank=True)
    error = models.CharField(max_length=500, default="", blank=True, help_text="safe to show")
    max_turns = models.PositiveSmallIntegerField(default=25)
    turn_count = models.PositiveIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=1, help_text="grows when a turn is taken again after a crash")
    lease_token = models.CharField(max_length=32, default="", blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    job = models.ForeignKey(
        "maintenance.Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_constraint=False
    )
    last_seq = models.PositiveIntegerField(default=0, help_text="number of its newest stream event that was stored")
    first_event_id = models.CharField(max_length=32, default="", blank=True, help_text="where its events begin")
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    reasoning_tokens = models.PositiveIntegerField(default=0)
    usage_estimated = models.BooleanField(default=False)
    context_trimmed = models.PositiveIntegerField(
        default=0, help_text="messages left out, or shortened, to fit the window"
    )
    warnings = models.JSONField(
        default=list, blank=True, help_text="[{code, message, turn}]: what a reader should know"
    )
    waiting_for = models.CharField(max_length=16, choices=WaitingFor.choices, default="", blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="of the wait")
    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    first_token_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "runs"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(status__in=["queued", "running", "waiting_for_tool", "cancelling"]),
                name="runs_one_open_per_conversation",
            )
        ]
        indexes = [
            # Not of the unfinished ones alone: SQLite, which is given the states as parameters, would not use it.
            models.Index(fields=["status", "lease_expires_at"], name="runs_by_status"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk}"


class Message(models.Model):
    """One entry of a conversation. `position` is null while its run is pending."""

    class Role(models.TextChoices):
        SYSTEM = "system", "system"
        USER = "user", "user"
        ASSISTANT = "assistant", "assistant"
        TOOL = "tool", "tool"

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        STREAMING = "streaming", "streaming"
        COMPLETE = "complete", "complete"
        INCOMPLETE = "incomplete", "incomplete"

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.CASCADE, related_name="messages")
    position = models.PositiveIntegerField(null=True, blank=True)
    role = models.CharField(max_length=16, choices=Role.choices)
    name = models.CharField(max_length=128, default="", blank=True)
    content = models.TextField(default="", blank=True)
    thinking = models.TextField(default="", blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.COMPLETE)
    token_count = models.PositiveIntegerField(null=True, blank=True)
    finish_reason = models.CharField(max_length=32, default="", blank=True, help_text="why the model stopped")
    tool_call_id = models.CharField(max_length=255, default="", blank=True)
    images = models.JSONField(default=list, blank=True)
    provider_data = models.JSONField(default=dict, blank=True, help_text="what a provider wants back unchanged")
    request = models.JSONField(
        default=dict,
        blank=True,
        help_text="of an answer: what was sent for it, see conversations/requests.py",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "messages"
        ordering = [models.F("position").asc(nulls_last=True), "id"]
        constraints = [models.UniqueConstraint(fields=["conversation", "position"], name="messages_position")]

    def __str__(self) -> str:
        return f"{self.role} message {self.pk}"


class ToolCall(models.Model):
    """The model's request for a tool, and its answer."""

    class Kind(models.TextChoices):
        SYSTEM = "system", "system"
        USER = "user", "user"
        CLIENT = "client", "client"
        UNKNOWN = "unknown", "unknown"

    class Status(models.TextChoices):
        PENDING = "pending", "pending"
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"
        REFUSED = "refused", "refused"
        CANCELLED = "cancelled", "cancelled"
        EXPIRED = "expired", "expired"

    class Approval(models.TextChoices):
        NOT_NEEDED = "not_needed", "not needed"
        WANTED = "wanted", "wanted"
        APPROVED = "approved", "approved"
        DENIED = "denied", "denied"

    UNANSWERED = (Status.PENDING, Status.RUNNING)

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="tool_calls")
    run = models.ForeignKey(
        Run,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="tool_calls",
        help_text="null: copied by a fork",
    )
    call_id = models.CharField(max_length=128)
    provider_id = models.CharField(max_length=255, default="", blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    name = models.CharField(max_length=128)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    arguments = models.JSONField(default=dict)
    raw_arguments = models.TextField(default="", blank=True, help_text="what came in place of a JSON object")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    approval = models.CharField(max_length=16, choices=Approval.choices, default=Approval.NOT_NEEDED)
    asked_arguments = models.JSONField(null=True, blank=True, help_text="the model's, where an approval changed them")
    result = models.TextField(default="", blank=True)
    is_error = models.BooleanField(default=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    answered_by = models.CharField(max_length=64, default="", blank=True)
    decided_by = models.CharField(max_length=64, default="", blank=True, help_text="who approved or denied it: user:7")

    class Meta:
        db_table = "tool_calls"
        ordering = ["message", "position"]
        constraints = [models.UniqueConstraint(fields=["message", "call_id"], name="tool_calls_call_id")]

    def __str__(self) -> str:
        return f"{self.name} {self.call_id}"


class TodoItem(models.Model):
    """One thing that a conversation's agent means to do: what the `todo_…` tools keep."""

    class Priority(models.TextChoices):
        LOW = "low", "low"
        MEDIUM = "medium", "medium"
        HIGH = "high", "high"

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="todo_items")
    item = models.CharField(max_length=1000)
    priority = models.CharField(max_length=8, choices=Priority.choices, default=Priority.MEDIUM)
    completed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "todo_items"
        ordering = ["id"]

    def __str__(self) -> str:
        return self.item


class Snapshot(models.Model):
    """What a run is made with, taken on its first turn and used on all. Never changed."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="snapshot")
    agent_name = models.CharField(max_length=255)
    system_prompt = models.TextField()
    variables = models.JSONField(default=dict, help_text="per prompt slug, the values it was rendered with")
    tools = OrderedJSONField(default=list, help_text="those offered: see toolbox.Offered")
    tool_mode = models.CharField(max_length=16, default="auto")
    config = models.JSONField(default=dict)
    warnings = models.JSONField(default=list)
    backend = models.CharField(max_length=100)
    model = models.CharField(max_length=255)
    model_digest = models.CharField(max_length=128, default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "snapshots"

    def __str__(self) -> str:
        return f"snapshot of run {self.run_id}"
