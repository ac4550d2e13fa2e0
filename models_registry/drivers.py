"""Which code speaks to a backend, by the name of its driver, and which options that code can send."""

from collections.abc import Callable

from models_registry.backends import anthropic_options, fake, ollama_options, openai_options
from models_registry.backends.anthropic import AnthropicBackend
from models_registry.backends.base import Backend
from models_registry.backends.fake import FakeBackend
from models_registry.backends.ollama import OllamaBackend
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.options import DriverOptions
from models_registry.backends.settings import BackendSettings

DRIVERS: dict[str, Callable[[BackendSettings], Backend]] = {
    "openai": OpenAIBackend,
    "anthropic": AnthropicBackend,
    "ollama": OllamaBackend,
    "fake": FakeBackend,
}


def backend(chosen: BackendSettings) -> Backend:
    return DRIVERS[chosen.driver](chosen)


def options(chosen: BackendSettings) -> DriverOptions:
    if chosen.driver == "fake":
        return fake.OPTIONS
    if chosen.driver == "anthropic":
        return anthropic_options.OPTIONS
    if chosen.driver == "ollama":
        return ollama_options.OPTIONS
    return openai_options.COMPATIBLE if chosen.extensions else openai_options.OFFICIAL
