"""Whole turns with pictures: their bytes reach the model, or the message says why they do not."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from conversations import illustrations, picture_files, pictures, rebuild, requests, runs
from conversations.models import Agent, Conversation, Message, Run
from models_registry.backends import anthropic_request, ollama_request, openai_request
from models_registry.fakes.anthropic import AnthropicServer
from models_registry.fakes.http import Received, Script, document
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.openai import OpenAIServer
from models_registry.models import Model
from tests.conversations.drawings import base64_of, gif, jpeg, png

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]

Work = Callable[[], list[str]]
BOTH = [base64_of(png()), base64_of(jpeg())]


@pytest.fixture(autouse=True)
def uploads(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def servers(settings: Settings) -> Iterator[Mapping[str, Any]]:
    with OpenAIServer(tokens=1) as openai, OllamaServer(tokens=1) as ollama, AnthropicServer(tokens=1) as anthropic:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = openai.base_url, "sk-planted"
        settings.OLLAMA_BASE_URL = ollama.base_url
        settings.ANTHROPIC_BASE_URL, settings.ANTHROPIC_API_KEY = anthropic.base_url, "sk-ant-planted"
        yield {"openai": openai, "ollama": ollama, "anthropic": anthropic}


@pytest.fixture
def openai(servers: Mapping[str, Any], agent: Agent) -> OpenAIServer:
    Agent.objects.filter(pk=agent.pk).update(ai_backend="openai", model_config={"model": "stub"})
    server: OpenAIServer = servers["openai"]
    return server


def ask(conversation: Conversation, work: Work, text: str = "What is it?", raw: Sequence[str] = BOTH) -> Run:
    run = runs.start(Conversation.objects.get(pk=conversation.pk), text, images=pictures.take(raw))
    work()
    run.refresh_from_db()
    return run


def chats(server: Any) -> list[Any]:
    return [
        received.body for received in server.received if received.method == "POST" and received.body.get("messages")
    ]


def seen_by_openai(body: Any) -> list[tuple[Any, list[str]]]:
    """Text and pictures of each user message."""
    found = []
    for message in body["messages"]:
        if message["role"] == "user":
            parts = message["content"]
            parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
            texts = [part["text"] for part in parts if part["type"] == "text"]
            urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
            found.append(("".join(texts), [url.partition(",")[2] for url in urls]))
    return found


SENT: Mapping[str, Callable[[Any], Any]] = {
    "openai": lambda body: [
        part["image_url"]["url"] for part in body["messages"][-1]["content"] if "image_url" in part
    ],
    "ollama": lambda body: body["messages"][-1]["images"],
    "anthropic": lambda body: [part["source"] for part in body["messages"][-1]["content"] if part["type"] == "image"],
}
EXPECTED = {
    "openai": [f"data:image/{kind};base64,{data}" for kind, data in zip(("png", "jpeg"), BOTH, strict=True)],
    "ollama": BOTH,
    "anthropic": [
        {"type": "base64", "media_type": f"image/{kind}", "data": data}
        for kind, data in zip(("png", "jpeg"), BOTH, strict=True)
    ],
}
BODY: Mapping[str, Callable[[Any], Any]] = {
    "openai": lambda request: openai_request.body(request, extensions=True),
    "ollama": lambda request: ollama_request.body(request, "5m"),
    "anthropic": anthropic_request.body,
}


@pytest.mark.parametrize("text", ["What is it?", ""])
@pytest.mark.parametrize("backend", EXPECTED)
def test_f29_the_bytes_of_pictures_reach_every_kind_of_server(
    servers: Mapping[str, Any], agent: Agent, conversation: Conversation, work: Work, backend: str, text: str
) -> None:
    Agent.objects.filter(pk=agent.pk).update(ai_backend=backend, model_config={"model": "stub"})
    run = ask(conversation, work, text)
    assert (run.status, run.error, run.warnings) == ("completed", "", [])
    (body,) = chats(servers[backend])
    assert SENT[backend](body) == EXPECTED[backend]
    rebuilt = rebuild.request_of(run.messages.get(role="assistant"))
    assert json.dumps(BODY[backend](rebuilt)) == json.dumps(body)


def test_pictures_go_along_with_every_later_question(
    openai: OpenAIServer, conversation: Conversation, work: Work
) -> None:
    ask(conversation, work)
    ask(conversation, work, "And now?", [])
    assert seen_by_openai(chats(openai)[-1]) == [("What is it?", BOTH), ("And now?", [])]


def test_a_request_is_noted_with_digests_in_place_of_bytes(
    openai: OpenAIServer, conversation: Conversation, work: Work, uploads: Path
) -> None:
    run = ask(conversation, work)
    shown = rebuild.shown(run, 1)
    assert shown["exact"]
    assert not any(picture[:20] in json.dumps(shown) for picture in BOTH)
    assert [image["media_type"] for image in shown["request"]["messages"][-1]["images"]] == ["image/png", "image/jpeg"]
    path = uploads / run.user_message.images[0]["path"]
    path.write_bytes(gif())
    assert not rebuild.shown(run, 1)["exact"]
    path.write_bytes(png())
    assert rebuild.shown(run, 1)["exact"]


def test_a_lost_picture_is_told_and_fails_nothing(
    openai: OpenAIServer, conversation: Conversation, work: Work, uploads: Path
) -> None:
    first = ask(conversation, work)
    (uploads / first.user_message.images[0]["path"]).unlink()
    second = ask(conversation, work, "And now?", [])
    assert second.status == "completed"
    assert seen_by_openai(chats(openai)[-1])[0] == ("What is it?\n[image lost]", BOTH[1:])
    assert [warning["code"] for warning in second.warnings] == [illustrations.ARE_LOST]
    assert rebuild.shown(second, 1)["exact"]
    assert not rebuild.shown(first, 1)["exact"]


def test_a_backend_that_takes_no_pictures_is_told_that_they_were_left_out(
    conversation: Conversation, work: Work
) -> None:
    run = ask(conversation, work)
    assert run.status == "completed"
    assert run.warnings == [{"code": "images_left_out", "message": "Images were left out: echo takes none.", "turn": 1}]
    request = rebuild.request_of(run.messages.get(role="assistant"))
    assert request.messages[-1].images == []
    assert request.messages[-1].content == "What is it?" + "\n[an image was left out: echo takes none]" * 2
    assert rebuild.shown(run, 1)["exact"]


@pytest.mark.parametrize(
    ("capabilities", "sent"), [(["completion"], []), (["completion", "vision"], BOTH), (None, BOTH)]
)
def test_what_is_known_of_the_model_decides(
    openai: OpenAIServer, conversation: Conversation, work: Work, capabilities: Any, sent: list[str]
) -> None:
    Model.objects.create(backend="openai", name="stub", synced_at=timezone.now(), capabilities=capabilities)
    run = ask(conversation, work)
    assert run.status == "completed"
    assert seen_by_openai(chats(openai)[-1])[0][1] == sent
    assert bool(run.warnings) == (not sent)


def test_what_becomes_known_later_does_not_change_what_was_sent(
    openai: OpenAIServer, conversation: Conversation, work: Work
) -> None:
    run = ask(conversation, work)
    Model.objects.create(backend="openai", name="stub", synced_at=timezone.now(), capabilities=["completion"])
    assert rebuild.shown(run, 1)["exact"]


def test_a_tool_mode_by_schema_sends_pictures_too(
    servers: Mapping[str, Any], agent: Agent, conversation: Conversation, work: Work
) -> None:
    Agent.objects.filter(pk=agent.pk).update(
        ai_backend="ollama", model_config={"model": "stub"}, tool_mode=Agent.ToolMode.JSON_SCHEMA
    )
    ask(conversation, work)
    assert chats(servers["ollama"])[0]["messages"][-1]["images"] == BOTH


def test_a_model_that_refuses_pictures_does_not_fail_the_conversation_for_ever(
    openai: OpenAIServer, conversation: Conversation, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = openai.answer

    def answer(received: Received) -> Any:
        refused: Script = document(400, {"error": {"message": "this model does not take images"}})
        return refused if "image_url" in json.dumps(received.body) else kind(received)

    monkeypatch.setattr(openai, "answer", answer)
    ask(conversation, work, "Hello.", [])
    failed = ask(conversation, work)
    assert (failed.status, failed.error_code) == ("failed", "bad_request")
    again = runs.retry(failed)
    work()
    again.refresh_from_db()
    assert again.status == "completed"
    assert [warning["message"] for warning in again.warnings] == [
        "Images were left out: stub has refused a request with images."
    ]
    assert ask(conversation, work, "And now?", []).status == "completed"
    assert rebuild.shown(again, 1)["exact"]


def test_the_newest_pictures_are_sent_where_not_all_have_room(
    openai: OpenAIServer, conversation: Conversation, work: Work, settings: Settings
) -> None:
    settings.IMAGES_MAX_BYTES = len(png()) + len(jpeg())
    ask(conversation, work, "first", [BOTH[0]])
    run = ask(conversation, work, "second")
    (_, unsent), (_, sent) = seen_by_openai(chats(openai)[-1])
    assert (unsent, sent) == ([], BOTH)
    assert [warning["code"] for warning in run.warnings] == ["images_left_out"]
    settings.IMAGES_MAX_BYTES = 10**6
    assert rebuild.shown(run, 1)["exact"]


def test_what_is_trimmed_away_is_not_read(
    openai: OpenAIServer, agent: Agent, conversation: Conversation, work: Work, uploads: Path, monkeypatch: Any
) -> None:
    ask(conversation, work)
    Agent.objects.filter(pk=agent.pk).update(model_config={"model": "stub", "context_length": 1300, "max_tokens": 100})
    lost = uploads / Message.objects.get(role="user").images[0]["path"]
    lost.unlink()
    run = ask(conversation, work, "word " * 300, [])
    assert run.status == "completed"
    assert run.messages.get(role="assistant").request["trimmed"]
    assert illustrations.ARE_LOST not in [warning["code"] for warning in run.warnings]


def test_few_counted_tokens_of_pictures_are_no_sign_of_a_prompt_cut_short(
    openai: OpenAIServer, agent: Agent, conversation: Conversation, work: Work
) -> None:
    run = ask(conversation, work, "What are these?", [BOTH[0]] * 8)  # 768 tokens each, by our rule; 12, says the server
    note = run.messages.get(role="assistant").request
    assert (run.warnings, note["counted"], note["images"]) == ([], 12, 8)
    later = ask(conversation, work, "And now?", [])
    assert later.messages.get(role="assistant").request["scale"] == 1.0


def test_a_turn_of_text_asks_nothing_about_pictures(
    conversation: Conversation, work: Work, django_assert_num_queries: Any
) -> None:
    run = ask(conversation, work, "Hello.", [])
    messages = list(Message.objects.all())
    with django_assert_num_queries(0):
        assert illustrations.left_out(run, messages, sees=False) == {}


def test_the_canonical_form_of_text_is_as_it_ever_was(conversation: Conversation, work: Work) -> None:
    request = rebuild.request_of(ask(conversation, work, "Hello.", []).messages.get(role="assistant"))
    values = {name: value for name, value in vars(request).items() if name != "timeouts"}
    text = json.dumps(values, default=vars, sort_keys=True)
    assert requests.canonical(request) == json.loads(text)
    assert picture_files.image({"id": "x", "path": "images/1/x.png", "media_type": "image/png"}) is None
