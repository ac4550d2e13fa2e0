"""Settings of the backends that cannot work, found at start."""

import re
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from maintenance.tables import Queue
from models_registry import catalog, environment

_URLS = ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_BASE_URL", "EMBEDDED_MODEL_URL")
_AT_LEAST_ONE = (
    "BACKEND_CONNECT_TIMEOUT_SECONDS",
    "BACKEND_IDLE_TIMEOUT_SECONDS",
    "BACKEND_REPLY_MAX_BYTES",
    "EMBEDDED_MODEL_CONTEXT_TOKENS",
    "OLLAMA_TIMEOUT",
    "MODEL_PULL_CONCURRENCY",
    "MODEL_PULL_STALL_SECONDS",
)
_DURATION = re.compile(r"-?\d+|-?(\d+(\.\d+)?(ms|s|m|h))+")


@register
def default_backend(**options: Any) -> list[CheckMessage]:
    """W001, no error: the stack migrates before it knows the address of its own model.

    A name that is not reserved may be that of a backend which an operator added: checks do not ask the database.
    """
    known = environment.backends()
    name = catalog.canonical(settings.DEFAULT_BACKEND)
    if name in known or name not in environment.RESERVED:
        return []
    message = f"DEFAULT_BACKEND names {settings.DEFAULT_BACKEND!r}, which is not configured."
    return [Warning(message, hint=f"Configured: {', '.join(known) or 'none'}.", id="models_registry.W001")]


@register
def addresses(**options: Any) -> list[CheckMessage]:
    """E002: a base URL that nothing can be sent to. It is not repeated, for it may hold a password."""
    bad = [name for name in _URLS if getattr(settings, name) and not _is_url(getattr(settings, name))]
    hint = "It must look like http://127.0.0.1:8080/v1."
    return [Error(f"{name} is no URL.", hint=hint, id="models_registry.E002") for name in bad]


@register
def limits(**options: Any) -> list[CheckMessage]:
    """E003: a limit that lets nothing through."""
    bad = [name for name in _AT_LEAST_ONE if getattr(settings, name) < 1]
    return [Error(f"{name} must be at least 1.", id="models_registry.E003") for name in bad]


@register
def keep_alive(**options: Any) -> list[CheckMessage]:
    """E004: a duration that Ollama refuses, with every call."""
    if _DURATION.fullmatch(settings.OLLAMA_KEEP_ALIVE):
        return []
    hint = "It must look like 5m, 1h30m, or be a number of seconds; -1 is for ever."
    return [Error("OLLAMA_KEEP_ALIVE is no duration.", hint=hint, id="models_registry.E004")]


@register
def workers_left_for_turns(**options: Any) -> list[CheckMessage]:
    """W002, no error: workers may be started by hand besides. With this, pulls could leave none for conversations."""
    pools = settings.WORKER_POOLS.values()
    workers = sum(pool.processes for pool in pools if Queue.DEFAULT in pool.queues)
    if workers > settings.MODEL_PULL_CONCURRENCY:
        return []
    message = (
        f"MODEL_PULL_CONCURRENCY is {settings.MODEL_PULL_CONCURRENCY}, and {workers} workers serve {Queue.DEFAULT}."
    )
    hint = "While so many models are pulled, nobody answers: give AI_WORKERS_PROCESSES more."
    return [Warning(message, hint=hint, id="models_registry.W002")]


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
