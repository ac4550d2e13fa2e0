"""What the driver `ollama` does with the fields of a configuration."""

from typing import Any

from models_registry.backends.options import DriverOptions

CONTEXT_LENGTH = 4096
MAX_TOKENS = 4096


def _refusal(field: str, value: Any, model: str) -> str:
    return ""


# The window is the model's own where the server has told it, see `catalog`.
OPTIONS = DriverOptions(
    defaults={"temperature": 0.7, "max_tokens": MAX_TOKENS, "context_length": CONTEXT_LENGTH},
    refusal=_refusal,
)
