"""Settings. Every value an operator may change comes from the environment and has a line in docs/configuration.md."""

from datetime import timedelta
from pathlib import Path

from chinese_worker import env
from chinese_worker.rest import REST_FRAMEWORK as REST_FRAMEWORK
from chinese_worker.rest import SPECTACULAR_SETTINGS as SPECTACULAR_SETTINGS
from chinese_worker.stack import stack
from maintenance.tables import Missed, Overlap, Pool, Queue, Task, redis_parts

BASE_DIR = env.BASE_DIR
DATA_DIR = env.DATA_DIR
APP_NAME = env.text("APP_NAME", "Chinese Worker")
APP_ENV = env.text("APP_ENV", "local")
DEBUG = env.flag("DEBUG")
SECRET_KEY = env.secret_key()
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "maintenance.apps.MaintenanceConfig",  # before django_rq, so that `rqworker` is ours
    "models_registry.apps.ModelsRegistryConfig",
    "conversations.apps.ConversationsConfig",
    "chinese_worker.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_rq",
    "django_crontab",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "maintenance.http.null_characters.without_null_characters",
]
ROOT_URLCONF = "chinese_worker.urls"
ASGI_APPLICATION = "chinese_worker.asgi.application"
WSGI_APPLICATION = "chinese_worker.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "maintenance.caches.JSONCache"}}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.flag("HTTPS_ONLY")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("TRUST_PROXY") else None
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
LANGUAGE_CODE = "en-gb"
TIME_ZONE = env.text("TIME_ZONE", "UTC")
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(DATA_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "chinese_worker" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
MEDIA_ROOT = DATA_DIR / "uploads"
APPEND_SLASH = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"context": {"()": "maintenance.logs.ContextFilter"}},
    "formatters": {"line": {"()": "maintenance.logs.LineFormatter"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["context"]},
    },
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {"rq.worker": {"level": "WARNING"}, "django.request": {"level": "ERROR"}},
}

REGISTRATION_OPEN = env.flag("REGISTRATION_OPEN")
TOKEN_LIFETIME_SECONDS = env.number("TOKEN_LIFETIME_SECONDS", 24 * 3600)
IDEMPOTENCY_KEPT_SECONDS = env.number("IDEMPOTENCY_KEPT_SECONDS", 24 * 3600)
MESSAGE_MAX_BYTES = env.number("MESSAGE_MAX_BYTES", 256 * 1024)
IMAGES_MAX = env.number("IMAGES_MAX", 8)
IMAGE_MAX_BYTES = env.number("IMAGE_MAX_BYTES", 10 * 1024 * 1024)
IMAGES_MAX_BYTES = env.number("IMAGES_MAX_BYTES", 18 * 1024 * 1024)
IMAGE_MAX_PIXELS = env.number("IMAGE_MAX_PIXELS", 100_000_000)
TOOL_SCHEMAS_MAX = env.number("TOOL_SCHEMAS_MAX", 64)
TOOL_SCHEMAS_MAX_BYTES = env.number("TOOL_SCHEMAS_MAX_BYTES", 256 * 1024)
TOOL_RESULT_MAX_BYTES = env.number("TOOL_RESULT_MAX_BYTES", 1024 * 1024)
TOOL_WAIT_SECONDS = env.number("TOOL_WAIT_SECONDS", 24 * 3600)
SEARXNG_URL = env.text("SEARXNG_URL")
TITLES = env.flag("TITLES", default=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = env.number("REQUEST_MAX_BYTES", 26 * 1024 * 1024)

# Turns
RUN_PENDING_MAX = env.number("RUN_PENDING_MAX", 100)
TURN_CRASH_POLICY = env.text("TURN_CRASH_POLICY", "fail")
PROMPT_MAX_CHARACTERS = env.number("PROMPT_MAX_CHARACTERS", 200_000)
PROMPT_TIMEOUT_SECONDS = env.number("PROMPT_TIMEOUT_SECONDS", 2)

# AI backends
BACKEND_CONNECT_TIMEOUT_SECONDS = env.number("BACKEND_CONNECT_TIMEOUT_SECONDS", 5)
BACKEND_IDLE_TIMEOUT_SECONDS = env.number("BACKEND_IDLE_TIMEOUT_SECONDS", 60)
BACKEND_REPLY_MAX_BYTES = env.number("BACKEND_REPLY_MAX_BYTES", 16 * 1024 * 1024)
BACKEND_HEALTH_KEPT_SECONDS = env.number("BACKEND_HEALTH_KEPT_SECONDS", 30)
EMBEDDED_MODEL_URL = env.text("EMBEDDED_MODEL_URL")
EMBEDDED_MODEL_CONTEXT_TOKENS = env.number("EMBEDDED_MODEL_CONTEXT_TOKENS", 4096)
OPENAI_BASE_URL = env.text("OPENAI_BASE_URL")
OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_MODEL = env.text("OPENAI_MODEL")
OPENAI_CONTEXT_TOKENS = env.number("OPENAI_CONTEXT_TOKENS", 0)
OLLAMA_BASE_URL = env.text("OLLAMA_BASE_URL")
OLLAMA_MODEL = env.text("OLLAMA_MODEL")
OLLAMA_CONTEXT_TOKENS = env.number("OLLAMA_CONTEXT_TOKENS", 0)
OLLAMA_TIMEOUT = env.number("OLLAMA_TIMEOUT", 300)
OLLAMA_KEEP_ALIVE = env.text("OLLAMA_KEEP_ALIVE", "5m")
ANTHROPIC_API_KEY = env.text("ANTHROPIC_API_KEY")
ANTHROPIC_BASE_URL = env.text("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
ANTHROPIC_MODEL = env.text("ANTHROPIC_MODEL")
FAKE_BACKEND = env.flag("FAKE_BACKEND")
DEFAULT_BACKEND = env.text("DEFAULT_BACKEND")
MODEL_PULL_CONCURRENCY = env.number("MODEL_PULL_CONCURRENCY", 1)
MODEL_PULL_STALL_SECONDS = env.number("MODEL_PULL_STALL_SECONDS", 300)

# Requests that a user or a model can aim: maintenance/outbound.py
OUTBOUND_ALLOWED = env.words("OUTBOUND_ALLOWED")
OUTBOUND_PORTS = env.words("OUTBOUND_PORTS", "80,443")
OUTBOUND_TIMEOUT_SECONDS = env.number("OUTBOUND_TIMEOUT_SECONDS", 30)
OUTBOUND_MAX_BYTES = env.number("OUTBOUND_MAX_BYTES", 5 * 1024 * 1024)

# Retention: maintenance/cleanup.py says what of
TEMPORARY_KEPT_HOURS = env.number("TEMPORARY_KEPT_HOURS", 24)
LOG_KEPT_DAYS = env.number("LOG_KEPT_DAYS", 14)
JOB_HISTORY_DAYS = env.number("JOB_HISTORY_DAYS", 30)
JOB_FAILED_HISTORY_DAYS = env.number("JOB_FAILED_HISTORY_DAYS", 90)
SCHEDULE_HISTORY_DAYS = env.number("SCHEDULE_HISTORY_DAYS", 90)
# Folders of MEDIA_ROOT where a file goes that no live row needs
OWNED_FOLDERS = ("images",)
# Functions that are given names below MEDIA_ROOT and answer with those that a live row needs
FILES_IN_USE = ["conversations.picture_files.in_use"]
# Functions that are given the time and answer with the rows of their app whose time is over
HISTORY_ROWS = ["models_registry.retention.ended_pulls"]

# Event streams
STREAM_HEARTBEAT_SECONDS = env.number("STREAM_HEARTBEAT_SECONDS", 15)
STREAM_KEPT_SECONDS = env.number("STREAM_KEPT_SECONDS", 3600)
STREAM_MAX_EVENTS = env.number("STREAM_MAX_EVENTS", 20_000)
STREAM_READER_MAX_EVENTS = env.number("STREAM_READER_MAX_EVENTS", 1000)  # that wait for one slow reader
STREAMS_MAX = env.number("STREAMS_MAX", 2000)  # open at once, per web process
STREAMS_PER_USER = env.number("STREAMS_PER_USER", 100)

# Queues
QUEUE_CONNECTION = env.text("QUEUE_CONNECTION", "database")
REDIS_URL = env.redis_url()
LEASE_SECONDS = 18
LEASE_RENEWAL_SECONDS = 5
RECONCILE_SECONDS = 5
JOB_RETRY_SECONDS = env.number("JOB_RETRY_SECONDS", 10)
WORKERS_DRAIN_SECONDS = env.number("WORKERS_DRAIN_SECONDS", 340)
JOB_TIMEOUTS = env.flag("JOB_TIMEOUTS", default=True)
QUEUE_WAIT_MAX_SECONDS = {
    Queue.HIGH: env.number("QUEUE_HIGH_WAIT_MAX_SECONDS", 30),
    Queue.DEFAULT: env.number("QUEUE_DEFAULT_WAIT_MAX_SECONDS", 60),
    Queue.LOW: env.number("QUEUE_LOW_WAIT_MAX_SECONDS", 120),
}
FAILURES_MAX = env.number("FAILURES_MAX", 10)
RECONCILERS = [
    "maintenance.pauses.mirror",
    "maintenance.reconciler.reconcile",
    "maintenance.batches.reconcile",
    "maintenance.long_waits.notice",
    "models_registry.recovery.reconcile",
    "conversations.recovery.reconcile",
    "maintenance.schedule.fire_due",
]
REACTIONS: dict[str, list[str]] = {}  # what follows on an event besides what maintenance/reactions.py says
RQ = {"WORKER_CLASS": "maintenance.worker.LedgerWorker"}
RQ_SHOW_ADMIN_LINK = False

RQ_QUEUES = {
    queue.value: {**redis_parts(REDIS_URL), "SERIALIZER": "rq.serializers.JSONSerializer", "DEFAULT_TIMEOUT": 330}
    for queue in Queue
}
_PRODUCTION = APP_ENV == "production"
WORKER_POOLS = {
    "ai-workers": Pool(
        queues=(Queue.HIGH, Queue.DEFAULT),
        processes=env.number("AI_WORKERS_PROCESSES", 10 if _PRODUCTION else 3),
        timeout=timedelta(seconds=env.number("AI_WORKERS_TIMEOUT", 330)),
        memory_mb=env.number("AI_WORKERS_MEMORY_MB", 256),
        balance=env.flag("AI_WORKERS_BALANCE", default=True),
        min_processes=env.number("AI_WORKERS_MIN_PROCESSES", 1),
    ),
    "low-priority": Pool(
        queues=(Queue.LOW,),
        processes=env.number("LOW_PRIORITY_PROCESSES", 2 if _PRODUCTION else 1),
        timeout=timedelta(seconds=env.number("LOW_PRIORITY_TIMEOUT", 120)),
        memory_mb=env.number("LOW_PRIORITY_MEMORY_MB", 128),
    ),
}
SCHEDULE = (
    Task(
        name="clean_temporary_files",
        cron="0 2 * * *",
        time_zone=TIME_ZONE,
        job="clean_temporary_files",
        overlap=Overlap.SKIP,
        missed=Missed.RUN_ONCE,
    ),
    Task(
        name="prune_history",
        cron="0 3 * * *",
        time_zone=TIME_ZONE,
        job="prune_history",
        overlap=Overlap.SKIP,
        missed=Missed.RUN_ONCE,
    ),
    Task(
        name="sync_models",
        cron="17 * * * *",
        time_zone=TIME_ZONE,
        job="sync_models",
        overlap=Overlap.SKIP,
        missed=Missed.RUN_ONCE,
    ),
)
# For hosts where cron fires the schedule, or fires it too: what `manage.py crontab add` installs.
CRONJOBS = [("* * * * *", "maintenance.schedule.fire_due", ["cron"])]
CRONTAB_EXECUTABLE = "crontab"
CRONTAB_COMMENT = f"chinese-worker in {BASE_DIR}"
CRONTAB_DJANGO_MANAGE_PATH = str(BASE_DIR / "manage.py")
CRONTAB_COMMAND_PREFIX = env.shell_prefix()

# The stack: what `manage.py runstack` runs, in this order, after the embedded Valkey
HOST = env.text("HOST", "127.0.0.1")
PORT = env.number("PORT", 8000)
EMBEDDED_MODEL = env.flag("EMBEDDED_MODEL", default=True)
EMBEDDED_MODEL_SLOTS = env.number("EMBEDDED_MODEL_SLOTS", 4)
STACK_READY_FILE = env.text("STACK_READY_FILE")
STACK_LINKS = {"console": "/admin/", "API": "/api/v1/docs/"}
STACK_RECORDED = (
    "APP_ENV", "DATABASE_URL", "REDIS_URL", "QUEUE_CONNECTION", "HOST", "PORT", "DEFAULT_BACKEND", "FAKE_BACKEND",
    "EMBEDDED_MODEL_URL", "EMBEDDED_MODEL_CONTEXT_TOKENS", "OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_CONTEXT_TOKENS",
    "OLLAMA_BASE_URL", "OLLAMA_MODEL", "OLLAMA_CONTEXT_TOKENS", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL",
)  # fmt: skip
STACK = stack(host=HOST, port=PORT, with_model=EMBEDDED_MODEL, with_workers=QUEUE_CONNECTION != "sync")
