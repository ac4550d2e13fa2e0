import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from models_registry.backends.base import Cancellation
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.fakes.http import document
from models_registry.fakes.openai import OpenAIServer
from tests.models_registry.conftest import Listener, chat
from tests.services import free_port

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]


def check(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `check_backend`."""
    out = StringIO()
    try:
        call_command("check_backend", *arguments, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_backend_that_is_available_is_worth_a_zero(server: OpenAIServer, settings: Any) -> None:
    settings.OPENAI_BASE_URL = server.base_url
    code, out = check("openai")
    assert code == 0
    assert out.startswith("openai: available\nmodels: stub, ")


def test_without_a_name_the_default_one_is_asked() -> None:
    assert check() == (0, "fake: available\nmodels: echo, slow, script\n")


def test_a_dead_backend_is_worth_a_one(settings: Any) -> None:
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{free_port()}/v1"
    assert check("openai") == (1, "openai: unreachable\nopenai could not be reached.\n")


def test_a_backend_that_is_not_there_is_worth_a_one() -> None:
    code, out = check("vllm", "--json")
    assert code == 1
    assert json.loads(out) == {
        "name": "vllm",
        "status": "misconfigured",
        "error": "There is no backend 'vllm'. Configured: fake.",
        "models": [],
    }


@pytest.mark.parametrize(("key", "told"), [("", "wants a key, and none is set here"), ("wrong", "refused the key")])
def test_a_key_that_is_missing_is_told_from_one_that_is_refused(settings: Any, key: str, told: str) -> None:
    with OpenAIServer() as server:
        server.answer = lambda received: document(401, {"error": {"message": "no", "code": "invalid_api_key"}})
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = server.base_url, key
        code, out = check("openai")
    assert code == 1
    assert told in out


def test_with_json_it_prints_one_object() -> None:
    code, out = check("fake", "--json")
    assert code == 0
    assert json.loads(out)["models"] == ["echo", "slow", "script"]


def test_a_fake_server_cannot_take_a_port_that_is_taken(server: OpenAIServer) -> None:
    with pytest.raises(CommandError, match="Cannot listen"):
        call_command("fake_backend", port=int(server.base_url.split(":")[2].split("/")[0]))


@pytest.mark.acceptance
def test_a_fake_server_runs_by_hand_and_stops_at_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "fake_backend", "--tokens", "3", "--load-seconds", "40"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "chinese_worker.settings"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    try:
        backend = OpenAIBackend(BackendSettings(name="by-hand", driver="openai", base_url=url))
        assert backend.stream(chat(), Listener(), Cancellation()).content == "The quick brown "
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told.strip()) == (0, "stopped")
