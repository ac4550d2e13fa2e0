"""The backends that the environment names. They are read at every start and cannot be changed in the console."""

from django.conf import settings

from models_registry.backends.settings import BackendSettings

# No backend that an operator adds may have one of these, whether the environment names it now or not.
RESERVED = ("embedded", "openai", "anthropic", "claude", "ollama", "fake")
EMBEDDED = "embedded"
EMBEDDED_MODEL = "smollm2-135m-instruct"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_DEFAULT_MODEL = "gpt-4o-mini"
ANTHROPIC_URL = "https://api.anthropic.com"
ANTHROPIC_DEFAULT_MODEL = "claude-haiku-4-5"
FAKE_CONTEXT_TOKENS = 128_000


def backends() -> dict[str, BackendSettings]:
    """By name; the first is the default unless a setting says otherwise."""
    found: list[BackendSettings] = []
    if settings.OPENAI_BASE_URL or settings.OPENAI_API_KEY:
        found.append(_openai())
    if settings.ANTHROPIC_API_KEY or not _is_official_anthropic():
        found.append(_anthropic())
    if settings.OLLAMA_BASE_URL:
        found.append(_ollama())
    if settings.EMBEDDED_MODEL_URL:
        found.append(_embedded())
    if settings.FAKE_BACKEND:
        found.append(BackendSettings(name="fake", driver="fake", model="echo", context_length=FAKE_CONTEXT_TOKENS))
    return {backend.name: backend for backend in found}


def _openai() -> BackendSettings:
    official = settings.OPENAI_BASE_URL.rstrip("/") in ("", OPENAI_URL)
    return BackendSettings(
        name="openai",
        driver="openai",
        base_url=settings.OPENAI_BASE_URL or OPENAI_URL,
        api_key=settings.OPENAI_API_KEY,
        model=settings.OPENAI_MODEL or (OPENAI_DEFAULT_MODEL if official else ""),
        context_length=settings.OPENAI_CONTEXT_TOKENS,
        extensions=not official,
    )


def _anthropic() -> BackendSettings:
    return BackendSettings(
        name="anthropic",
        driver="anthropic",
        base_url=settings.ANTHROPIC_BASE_URL or ANTHROPIC_URL,
        api_key=settings.ANTHROPIC_API_KEY,
        model=settings.ANTHROPIC_MODEL or (ANTHROPIC_DEFAULT_MODEL if _is_official_anthropic() else ""),
    )


def _is_official_anthropic() -> bool:
    return settings.ANTHROPIC_BASE_URL.rstrip("/") in ("", ANTHROPIC_URL)


def _ollama() -> BackendSettings:
    return BackendSettings(
        name="ollama",
        driver="ollama",
        base_url=settings.OLLAMA_BASE_URL,
        model=settings.OLLAMA_MODEL,
        options={"timeout": settings.OLLAMA_TIMEOUT, "context_length": settings.OLLAMA_CONTEXT_TOKENS or None},
    )


def _embedded() -> BackendSettings:
    # The model is small: cooler sampling keeps it to the point, and a short reply leaves room in its window.
    return BackendSettings(
        name=EMBEDDED,
        driver="openai",
        base_url=settings.EMBEDDED_MODEL_URL,
        model=EMBEDDED_MODEL,
        options={"temperature": 0.2, "top_p": 0.9, "max_tokens": 1024},
        context_length=settings.EMBEDDED_MODEL_CONTEXT_TOKENS,
        extensions=True,
        function_calling=False,
        vision=False,
        tool_mode="json_schema",
    )
