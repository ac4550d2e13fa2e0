import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from django.core.management import CommandError, call_command

from models_registry import embedded
from models_registry.backends.base import Cancellation, ChatMessage, FinishReason, ModelConfig, Timeouts, ToolSchema
from models_registry.backends.openai import OpenAIBackend
from models_registry.backends.settings import BackendSettings
from models_registry.backends.tool_mode import SchemaToolBackend
from models_registry.environment import EMBEDDED_MODEL
from tests.models_registry.conftest import Listener, chat
from tests.processes import until
from tests.services import free_port

ROOT = Path(__file__).parents[2]


def ask(url: str, body: dict[str, Any] | None = None) -> str:
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=30) as answer:
        return str(answer.read().decode())


def answers(url: str) -> bool:
    try:
        return bool(ask(url))
    except URLError:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of the model server, started as the stack starts it."""
    pytest.importorskip("xllamacpp", reason="no embedded model on this machine")
    url = f"http://127.0.0.1:{free_port()}/v1"
    process = subprocess.Popen(
        [sys.executable, "manage.py", "modelserver"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATA_DIR": str(tmp_path),
            "EMBEDDED_MODEL_URL": url,
            "DJANGO_SETTINGS_MODULE": "chinese_worker.settings",
        },
        stderr=subprocess.DEVNULL,
    )
    until(lambda: answers(url.replace("/v1", "/health")) or process.poll() is not None)
    yield url
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


@pytest.mark.acceptance
def test_the_real_model_streams_tokens_and_says_what_they_cost(server: str) -> None:
    models = json.loads(ask(f"{server}/models"))
    assert [model["id"] for model in models["data"]] == [EMBEDDED_MODEL]
    assert models["data"][0]["meta"]["n_ctx"] == 4096
    request = {
        "model": EMBEDDED_MODEL,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    lines = [line for line in ask(f"{server}/chat/completions", request).splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert chunks[-1]["usage"]["completion_tokens"] > 0


# What real tools say of themselves, with much that the server's grammars do not know.
LOOKUP = ToolSchema(
    name="weather_lookup",
    description="Look up the weather in a city.",
    parameters={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "city": {
                "type": "string",
                "minLength": 2,
                "maxLength": 40,
                "pattern": "^[A-Z].*",
                "description": "Its name.",
            },
            "unit": {"$ref": "#/$defs/unit"},
            "days": {"type": "integer", "minimum": 1, "maximum": 7, "multipleOf": 1},
        },
        "required": ["city", "unit", "days"],
        "$defs": {"unit": {"enum": ["celsius", "fahrenheit"]}},
    },
)
NOTE = ToolSchema(
    name="note",
    description="Write a short note.",
    parameters={
        "properties": {
            "text": {"type": ["string", "null"]},
            "extra": {"description": "anything"},
            "tags": {"type": "array", "uniqueItems": True},
        }
    },
)


@pytest.mark.acceptance
def test_the_real_model_calls_tools_by_a_schema(server: str) -> None:
    """A model of 135 million parameters that knows no tools: its call fits the schema all the same."""
    inner = OpenAIBackend(BackendSettings(name="embedded", driver="openai", base_url=server, extensions=True))
    backend = SchemaToolBackend(inner)
    config = ModelConfig(model=EMBEDDED_MODEL, temperature=0.0, max_tokens=100, seed=1)
    request = chat(text="What is the weather in Paris?", config=config, tools=[LOOKUP], answer_allowed=False)
    request = replace(request, timeouts=Timeouts(connect=5, first_byte=100, idle=100, total=150))

    heard = Listener()
    reply = backend.stream(request, heard, Cancellation())
    (call,) = reply.tool_calls
    assert (call.name, reply.content, heard.deltas) == ("weather_lookup", "", [])
    assert (reply.whole, reply.finish_reason) == (True, FinishReason.TOOL_CALLS)
    assert call.arguments is not None
    assert {"city", "unit", "days"} <= set(call.arguments)
    assert call.arguments["unit"] in ("celsius", "fahrenheit")
    assert call.arguments["days"] in range(1, 8)

    past = [
        *request.messages,
        ChatMessage(role="assistant", tool_calls=reply.tool_calls),
        ChatMessage(role="tool", name=call.name, content="Sunny, 20 degrees."),
    ]
    either = replace(request, messages=past, tools=[LOOKUP, NOTE], answer_allowed=True)
    heard = Listener()
    reply = backend.stream(either, heard, Cancellation())
    assert reply.content == heard.text()
    assert reply.finish_reason is FinishReason.LENGTH or bool(reply.tool_calls) != bool(reply.content)


def test_without_its_package_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "xllamacpp", None)
    with pytest.raises(CommandError, match="xllamacpp is not installed"):
        call_command("modelserver", port=1)
