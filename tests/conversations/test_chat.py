"""`manage.py chat` in the test's own process; a thread does the workers' part."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connections
from pytest_django.fixtures import Settings

from conversations import picture_files
from conversations.frames import Frame
from conversations.management.transcript import DIM, PLAIN, Transcript
from conversations.models import Agent, Conversation, Message, Run, TodoItem, Tool
from maintenance import broker
from maintenance.worker import make_worker
from tests.conversations.drawings import gif, png
from tests.conversations.scripts import call, fail, say, script, think, turns, wait
from tests.maintenance.commands import manage
from tests.queue import drain
from tests.services import Valkey
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = script(say("Hello."))


@contextmanager
def working() -> Iterator[None]:
    """Somebody takes what is queued while the command waits."""
    over = threading.Event()

    def work() -> None:
        try:
            while not over.is_set():
                drain()
                time.sleep(0.01)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def stack(valkey: Valkey, bob: User, agent: Agent) -> Iterator[None]:
    make_worker(["default"]).register_birth()
    agent.model_config = {"model": "script"}
    agent.save()
    with working():
        yield


def test_an_answer_is_printed_as_it_is_stored(stack: None) -> None:
    said = manage("chat", "parrot", script(think("hm"), say("Good "), say("day.")))
    assert (said.code, said.out) == (0, "Good day.\n")
    conversation = Conversation.objects.get()
    assert (conversation.user.username, conversation.client_type) == ("bob", "terminal")


@pytest.mark.parametrize("way", ["slug", "id", "name"])
def test_an_agent_is_found_by_its_slug_id_or_name(stack: None, agent: Agent, way: str) -> None:
    assert manage("chat", {"slug": "parrot", "id": str(agent.pk), "name": "PARROT"}[way], HELLO).code == 0


def test_an_unknown_agent_is_named_with_those_that_are(stack: None) -> None:
    said = manage("chat", "owl", "Hi.")
    assert said.code == 1
    assert "'owl'" in said.err
    assert "parrot" in said.err


def test_the_conversation_is_whose_name_is_given(stack: None, alice: User) -> None:
    assert manage("chat", "parrot", HELLO, "--user", "alice@example.test").code == 0
    assert Conversation.objects.get().user == alice
    assert manage("chat", "parrot", HELLO, "--user", "nobody").code == 1


def test_a_failure_is_told_and_is_the_exit_code(stack: None) -> None:
    said = manage("chat", "parrot", script(fail("backend_unreachable")))
    assert said.code == 1
    assert "backend_unreachable" in said.err


def test_json_is_the_only_thing_on_stdout(stack: None) -> None:
    said = manage("chat", "parrot", script(say("Good day.")), "--json")
    run = Run.objects.get()
    assert said.code == 0
    assert {"status": "completed", "text": "Good day.", "run_id": run.pk}.items() <= json.loads(said.out).items()
    assert manage("chat", "parrot", "--json").code == 2


def test_without_a_message_each_line_is_answered_in_one_conversation(
    stack: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(f"{script(say('One.'))}\n\n{script(say('Two.'))}\n"))
    said = manage("chat", "parrot")
    assert (said.code, said.out) == (0, "One.\nTwo.\n")
    assert Conversation.objects.get().runs.count() == 2


class Terminal(StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def with_tools(agent: Agent) -> None:
    """The agent may ask its client to look, and has to ask before it adds to its list."""
    looking = Tool.objects.create(user=agent.user, name="look", kind="client", parameters={"type": "object"})
    agent.tools.add(looking)
    agent.approvals = {"todo_add": "always"}
    agent.save()


LOOKS = turns([say("Let me see. "), call("look", path="a"), call("look", path="b")], [say("Seen.")])
ADDS = turns([call("todo_add", item="rice"), call("todo_add", item="tea")], [say("Done.")])


def test_results_of_the_clients_tools_are_typed(with_tools: None, stack: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("one\ntwo\n"))
    said = manage("chat", "parrot", LOOKS)
    assert (said.code, said.out) == (0, "Let me see. \nSeen.\n")
    assert 'look {"path": "a"}' in said.err
    made = Run.objects.get().tool_calls.order_by("position")
    assert list(made.values_list("status", "result")) == [("succeeded", "one"), ("succeeded", "two")]


def test_an_empty_line_refuses_a_call_and_ends_the_answer(
    with_tools: None, stack: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    said = manage("chat", "parrot", LOOKS)
    assert (said.code, said.out) == (0, "Let me see. \n\n")
    run = Run.objects.get()
    assert run.status == "completed"
    assert sorted(run.tool_calls.values_list("status", flat=True)) == ["cancelled", "refused"]


def test_approvals_are_asked_for_one_by_one(with_tools: None, stack: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\nn\n"))
    said = manage("chat", "parrot", ADDS)
    assert (said.code, said.out.splitlines()[-1]) == (0, "Done.")
    assert said.err.count("Allow it?") == 2
    run = Run.objects.get()
    assert list(run.tool_calls.order_by("position").values_list("approval", flat=True)) == ["approved", "denied"]
    assert list(TodoItem.objects.values_list("item", flat=True)) == ["rice"]


def test_where_nobody_is_at_the_terminal_it_refuses_and_says_so(with_tools: None, stack: None) -> None:
    for message in (LOOKS, ADDS):
        said = manage("chat", "parrot", message)
        assert said.code == 1
        assert "Nobody is at this terminal" in said.err
    said = manage("chat", "parrot", LOOKS, "--json")
    assert (said.code, said.value["status"], said.value["text"]) == (1, "completed", "Let me see. ")
    assert not Run.objects.exclude(status="completed").exists()
    assert not TodoItem.objects.exists()


def test_ctrl_c_at_a_question_stops_the_run(with_tools: None, stack: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Terminal):
        def readline(self, size: int | None = -1) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    for message in (LOOKS, ADDS):
        said = manage("chat", "parrot", message)
        assert (said.code, Run.objects.latest("pk").status) == (130, "cancelled")
        assert "Stopped" in said.err


def test_ctrl_c_stops_the_run_and_keeps_its_text(stack: None) -> None:
    def interrupt() -> None:
        try:
            eventually(lambda: Run.objects.filter(messages__content="Begun. ").exists())
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            connections.close_all()

    hand = threading.Thread(target=interrupt)
    hand.start()
    said = manage("chat", "parrot", script(say("Begun. "), *[wait(100)] * 200, say("Never said.")))
    hand.join()
    run = Run.objects.get()
    assert (said.code, said.out) == (130, "Begun. \n")
    assert run.status == "cancelled"
    assert run.messages.get(role="assistant").content == "Begun. "
    assert "Stopped" in said.err


def test_without_redis_it_says_what_to_start(valkey: Valkey, bob: User, agent: Agent) -> None:
    valkey.stop()
    said = manage("chat", "parrot", "Hi.")
    assert said.code == 1
    assert "make run" in said.err
    assert not Conversation.objects.exists()


def test_without_workers_it_says_what_to_start(valkey: Valkey, bob: User, agent: Agent) -> None:
    make_worker(["low"]).register_birth()
    said = manage("chat", "parrot", "Hi.")
    assert said.code == 1
    assert "No worker runs" in said.err
    assert "make run" in said.err


def test_the_end_comes_from_the_database_when_redis_forgets_it(stack: None) -> None:
    forget = threading.Timer(0, _flush_when_begun)
    forget.start()
    said = manage("chat", "parrot", script(say("Begun. "), wait(500), say("Ended.")))
    forget.join()
    assert (said.code, said.out) == (0, "Begun. Ended.\n")


def _flush_when_begun() -> None:
    try:
        eventually(lambda: Run.objects.filter(messages__content="Begun. ").exists())
        broker.quick().flushall()
    finally:
        connections.close_all()


def frame(event: str, **data: object) -> Frame:
    return Frame(event, data)


def transcript(dims: bool) -> tuple[Transcript, Callable[[], str]]:
    out = StringIO()
    return Transcript(out.write, dims=dims), out.getvalue


def test_thinking_is_dimmed_at_a_terminal_and_left_out_elsewhere() -> None:
    for dims, expected in ((True, f"{DIM}hm{PLAIN}\nYes.\n"), (False, "Yes.\n")):
        told, text = transcript(dims)
        told.take(frame("text_chunk", type="thinking", chunk="hm"))
        told.take(frame("text_chunk", type="content", chunk="Yes."))
        told.take(frame("completed"))
        assert text() == expected


def test_what_was_said_while_nobody_listened_is_said_at_the_end() -> None:
    told, text = transcript(False)
    told.take(frame("text_chunk", type="content", chunk="Let me see. "))
    told.pause()
    told.complete("Let me see. Seen.")
    told.complete("Let me see. Seen.")
    told.take(frame("completed", messages=[{"content": "Seen."}]))
    assert text() == "Let me see. \nSeen.\n"


def test_what_a_model_says_does_not_control_the_terminal() -> None:
    told, text = transcript(False)
    told.take(frame("text_chunk", type="content", chunk="\x1b[2Jone\x07\ttwo\r\nthree\u202e"))
    assert text() == "[2Jone\ttwo\nthree"


def test_an_answer_that_begins_again_says_so() -> None:
    told, text = transcript(False)
    told.take(frame("text_chunk", type="content", chunk="Half"))
    told.take(frame("attempt_started", discard_from=0))
    told.take(frame("text_chunk", type="content", chunk="Whole."))
    told.take(frame("completed"))
    assert told.text == "Whole."
    assert "begins again" in text()


def test_a_run_that_was_over_already_is_printed_from_its_end() -> None:
    told, text = transcript(False)
    told.take(frame("completed", messages=[{"content": "All of it."}]))
    assert text() == "All of it.\n"


def test_a_model_that_is_loaded_first_is_told_of() -> None:
    told, text = transcript(False)
    told.take(frame("model_loading", model="llama"))
    told.take(frame("text_chunk", type="content", chunk="Yes."))
    assert text() == "[loading llama]\nYes."


def test_images_go_along_with_a_message(stack: None, tmp_path: Path, settings: Settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "uploads"
    (tmp_path / "a").write_bytes(png())
    (tmp_path / "b.txt").write_bytes(gif())
    Agent.objects.update(model_config={"model": "echo"})
    said = manage("chat", "parrot", "Look.", "--image", str(tmp_path / "a"), "--image", str(tmp_path / "b.txt"))
    assert said.code == 0
    assert said.out.count("[an image was left out: echo takes none]") == 2
    (images,) = Message.objects.exclude(images=[]).values_list("images", flat=True)
    assert [picture_files.data_of(row) for row in images] == [png(), gif()]


@pytest.mark.parametrize(
    ("content", "words"), [(b"MZ", "Image 1 cannot be taken"), (None, "cannot be read: No such file or directory")]
)
def test_an_image_that_is_none_is_refused_before_anything_is_stored(
    stack: None, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    said = manage("chat", "parrot", HELLO, "--image", str(path))
    assert said.code != 0
    assert words in said.err
    assert not Conversation.objects.exists()
    assert "needs a MESSAGE" in manage("chat", "parrot", "--image", str(path)).err
