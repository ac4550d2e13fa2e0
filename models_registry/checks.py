"""Settings of the backends that cannot work, found at start."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from models_registry import catalog

_URLS = ("OPENAI_BASE_URL", "EMBEDDED_MODEL_URL")
_AT_LEAST_ONE = (
    "BACKEND_CONNECT_TIMEOUT_SECONDS",
    "BACKEND_IDLE_TIMEOUT_SECONDS",
    "BACKEND_REPLY_MAX_BYTES",
    "EMBEDDED_MODEL_CONTEXT_TOKENS",
)


@register
def default_backend(**options: Any) -> list[CheckMessage]:
    """W001, no error: the stack migrates before it knows the address of its own model."""
    known = catalog.configured()
    if not settings.DEFAULT_BACKEND or catalog.default_name() in known:
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


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
