"""A tool that fails: the model reads why on its next turn, and so do those who watch. Never an empty text."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from conversations import answers, runs
from conversations.answers import Result
from conversations.models import Agent, Conversation, Run, Tool
from models_registry.fakes.http import CUT, Received, Script, Server, document, head
from models_registry.fakes.openai import FOR_EVER
from tests.conversations import events
from tests.conversations.tool_plots import MODEL, PlotModel, calls, give, says

Work = Callable[[], list[str]]
NOTHING = head(500, {"content-length": "0"})
TOOL: dict[str, Script] = {
    "says-why": document(500, {"error": "the disk is full"}),
    "says-nothing": [NOTHING],
    "hangs-up": [CUT],
    "is-silent": [FOR_EVER],
    "breaks-off": [head(200, {"content-length": "100"}) + b"half", CUT],
}
WHY = {
    "says-why": 'HTTP 500: {"error": "the disk is full"}',
    "says-nothing": "HTTP 500: ",
    "hangs-up": "127.0.0.1 sent an answer that broke off or cannot be read.",
    "is-silent": "No whole answer came within 1 s.",
    "breaks-off": "127.0.0.1 sent an answer that broke off or cannot be read.",
}


class Scene:
    """Alice's agent with its tools; `told` is what the model was told in the newest request."""

    def __init__(self, conversation: Conversation, models: Server, work: Work) -> None:
        self.conversation, self.models, self.work = conversation, models, work

    def ask(self, plot: str) -> Run:
        run = runs.start(self.conversation, plot)
        self.work()
        return Run.objects.get(pk=run.pk)

    def told(self) -> list[str]:
        messages = self.models.received[-1].body["messages"]
        return [message["content"] for message in messages if message["role"] == "tool"]

    def shown(self) -> list[tuple[bool, str]]:
        """What `tool_completed` said of each call."""
        published: list[tuple[str, dict[str, Any]]] = events.published(self.conversation.pk)
        return [(data["success"], data["content"]) for name, data in published if name == "tool_completed"]


@pytest.fixture
def scene(agent: Agent, conversation: Conversation, settings: Settings, work: Work) -> Iterator[Scene]:
    plots = {what: [[calls(("count", what))], [says("I see")]] for what in (*TOOL, "closed", "deleted")}
    model = PlotModel(
        plots
        | {
            "unknown": [[calls(("no_such_tool", "x"))], [says("I see")]],
            "client": [[calls(("look", "x"))], [says("I see")]],
            "empty": [[calls(("look", ""))], [says("I see")]],
            "several": [[calls(("count", "says-why"), ("nothing", "x"), ("count", "fine"))], [says("I see")]],
        }
    )

    def tool(received: Received) -> Script:
        return TOOL.get(received.path.rpartition("/")[2], document(200, {"done": True}))

    with Server(model.answer) as models, Server(tool) as tools:
        settings.OPENAI_BASE_URL = f"{models.url}/v1"
        settings.OUTBOUND_ALLOWED = [urlsplit(tools.url).netloc]
        agent.ai_backend, agent.model_config, agent.system_tools = "openai", {"model": MODEL}, []
        agent.save()
        give(agent, tools.url)
        Tool.objects.filter(name="count").update(timeout_seconds=1)
        yield Scene(conversation, models, work)


@pytest.mark.parametrize("what", TOOL)
def test_f21_the_model_and_the_client_read_why_a_tool_failed(scene: Scene, what: str) -> None:
    run = scene.ask(what)
    said = f"Error: {WHY[what]}"
    assert (run.status, run.tool_calls.get().status) == ("completed", "failed")
    assert scene.told() == [said]
    assert scene.shown() == [(False, said)]


def test_f21_a_tool_at_an_address_that_is_closed_says_so(scene: Scene, settings: Settings) -> None:
    settings.OUTBOUND_ALLOWED = []
    scene.ask("closed")
    (said,) = scene.told()
    assert said.startswith("Error: ")
    assert "127.0.0.1" in said
    assert scene.shown() == [(False, said)]


def test_f21_a_tool_that_somebody_deleted_while_its_call_was_approved_says_so(
    scene: Scene, agent: Agent, alice: User
) -> None:
    agent.approvals = {"count": "always"}
    agent.save()
    run = scene.ask("deleted")
    Tool.objects.filter(name="count").delete()
    answers.approve(run, run.tool_calls.get().call_id, by=alice)
    scene.work()
    assert scene.told() == ["Error: the tool was deleted."]
    assert scene.shown() == [(False, "Error: the tool was deleted.")]


@pytest.mark.parametrize(("text", "why"), [("no such file", "no such file"), ("", "the tool failed.")])
def test_f21_a_clients_tool_that_failed_is_an_error_for_the_model(scene: Scene, text: str, why: str) -> None:
    run = scene.ask("client")
    (call,) = answers.wanted(run)
    answers.submit(scene.conversation, [Result(call_id=call.call_id, outcome="failed", text=text)])
    scene.work()
    assert scene.told() == [f"Error: {why}"]
    assert scene.shown() == [(False, f"Error: {why}")]


def test_f22_a_tool_that_there_is_not_is_answered_with_those_that_there_are(scene: Scene) -> None:
    run = scene.ask("unknown")
    assert run.status == "completed"
    assert scene.told() == ['Error: there is no tool named "no_such_tool". There are: count, look.']


def test_f22_an_empty_text_is_an_argument_like_any_other(scene: Scene) -> None:
    run = scene.ask("empty")
    assert run.status == "waiting_for_tool"
    assert [call.arguments for call in answers.wanted(run)] == [{"thing": ""}]


def test_f04_calls_that_fail_keep_no_other_call_of_the_reply_from_its_answer(scene: Scene) -> None:
    run = scene.ask("several")
    failed, unknown, fine = scene.told()
    assert (failed, json.loads(fine)) == (f"Error: {WHY['says-why']}", {"done": True})
    assert unknown.startswith("Error: there is no tool named")
    assert [success for success, _ in scene.shown()] == [False, False, True]
    assert run.status == "completed"
