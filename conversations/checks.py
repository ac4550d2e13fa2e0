"""Limits that contradict each other are found at the start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

LIMITS = ("IMAGES_MAX", "IMAGE_MAX_BYTES", "IMAGES_MAX_BYTES", "IMAGE_MAX_PIXELS")


@register
def images(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """conversations.E001: a limit below nothing. conversations.W001: images that no request could carry."""
    found: list[CheckMessage] = [
        Error(f"{name} is {getattr(settings, name)}.", hint="0 takes no images.", id="conversations.E001")
        for name in LIMITS
        if getattr(settings, name) < 0
    ]
    encoded = settings.IMAGES_MAX_BYTES * 4 // 3
    if encoded > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        text = f"IMAGES_MAX_BYTES are {encoded} bytes in base64, more than REQUEST_MAX_BYTES."
        hint = "Raise REQUEST_MAX_BYTES, and what the proxy in front lets through."
        found.append(Warning(text, hint=hint, id="conversations.W001"))
    return found
