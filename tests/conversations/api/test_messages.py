import json
import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from conversations import status
from conversations.models import Conversation, Message, Run
from maintenance import streams
from maintenance.models import Job
from tests.conversations.api.conftest import client_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


def path(conversation: Conversation, tail: str) -> str:
    return f"/api/v1/conversations/{conversation.pk}/{tail}"


def say(api: APIClient, conversation: Conversation, content: Any = "Hello.", **body: Any) -> Any:
    return api.post(path(conversation, "messages"), {"content": content, **body})


class TestPosting:
    def test_a_message_is_accepted_and_its_run_can_be_followed(
        self, api: APIClient, conversation: Conversation
    ) -> None:
        answer = say(api, conversation)
        run = Run.objects.get()
        assert answer.status_code == 202
        assert answer.json() == {
            "status": "processing",
            "conversation_id": conversation.pk,
            "run_id": run.pk,
            "message_id": run.user_message_id,
            "check_url": f"/api/v1/conversations/{conversation.pk}/status",
            "stream_url": f"/api/v1/conversations/{conversation.pk}/stream",
        }
        assert Job.objects.get().arguments == {"run_id": run.pk}

    def test_the_text_is_stored_as_it_was_sent(self, api: APIClient, conversation: Conversation) -> None:
        say(api, conversation, "  def f():\n    pass\n")
        assert Message.objects.get().content == "  def f():\n    pass\n"

    @pytest.mark.parametrize("content", ["", "   ", None, ["a"], "a\x00b"])
    def test_what_is_no_text_is_422(self, api: APIClient, conversation: Conversation, content: Any) -> None:
        answer = say(api, conversation, content)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["content"])

    def test_half_a_character_is_422(self, api: APIClient, conversation: Conversation) -> None:
        answer = api.generic("POST", path(conversation, "messages"), '{"content": "\\ud800"}', "application/json")
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["content"])

    def test_f51_a_message_over_the_limit_is_413(self, api: APIClient, conversation: Conversation) -> None:
        limit = 256 * 1024
        assert say(api, conversation, "ü" * (limit // 2)).status_code == 202
        answer = say(api, conversation, "ü" * (limit // 2) + "x")
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")

    def test_old_clients_send_an_empty_list_of_images(self, api: APIClient, conversation: Conversation) -> None:
        assert say(api, conversation, images=[]).status_code == 202
        assert Message.objects.get().images == []

    def test_f17_unknown_fields_are_refused(self, api: APIClient, conversation: Conversation) -> None:
        assert list(say(api, conversation, max_turns=1000).json()["errors"]) == ["max_turns"]

    def test_f02_a_message_that_is_rejected_names_the_open_run(
        self, api: APIClient, conversation: Conversation
    ) -> None:
        first = say(api, conversation).json()
        answer = say(api, conversation, on_busy="reject")
        assert (answer.status_code, answer.json()["code"]) == (409, "run_active")
        assert answer.json()["active_run"]["id"] == first["run_id"]
        assert Message.objects.count() == 1

    def test_f02_a_message_waits_for_the_run_before_it(self, api: APIClient, conversation: Conversation) -> None:
        say(api, conversation)
        assert say(api, conversation, "Second").status_code == 202
        assert list(Run.objects.values_list("status", flat=True)) == ["queued", "pending"]
        assert Message.objects.get(content="Second").position is None

    def test_a_steering_message_joins_the_run_that_is_open(self, api: APIClient, conversation: Conversation) -> None:
        first = say(api, conversation).json()
        second = say(api, conversation, "Shorter, please.", on_busy="steer")
        message = Message.objects.get(content="Shorter, please.")
        assert second.status_code == 202
        assert second.json() == {**first, "message_id": message.pk}
        assert (message.run_id, message.position) == (first["run_id"], None)
        assert Run.objects.count() == 1

    def test_an_interrupting_message_ends_the_run_before_it(self, api: APIClient, conversation: Conversation) -> None:
        say(api, conversation)
        second = say(api, conversation, "Stop that.", on_busy="interrupt").json()
        assert list(Run.objects.values_list("status", flat=True)) == ["cancelled", "queued"]
        assert Run.objects.get(status="queued").pk == second["run_id"]

    def test_without_a_word_the_agents_way_counts(self, api: APIClient, conversation: Conversation) -> None:
        for on_busy, code in (("reject", 409), ("steer", 202), ("enqueue", 202), ("interrupt", 202)):
            answer = api.patch(f"/api/v1/agents/{conversation.agent_id}", {"on_busy": on_busy})
            assert answer.json()["on_busy"] == on_busy
            say(api, conversation, on_busy="enqueue")
            assert say(api, conversation).status_code == code
        assert list(say(api, conversation, on_busy="never").json()["errors"]) == ["on_busy"]

    def test_f51_steering_messages_have_a_limit_too(
        self, api: APIClient, conversation: Conversation, settings: Any
    ) -> None:
        settings.RUN_PENDING_MAX = 1
        assert [say(api, conversation, on_busy="steer").status_code for _ in range(3)] == [202, 202, 429]

    def test_f02_too_many_that_wait_are_refused(
        self, api: APIClient, conversation: Conversation, settings: Any
    ) -> None:
        settings.RUN_PENDING_MAX = 1
        assert [say(api, conversation).status_code for _ in range(3)] == [202, 202, 429]

    def test_f02_the_same_key_posts_once(self, api: APIClient, conversation: Conversation) -> None:
        def post(content: str) -> Any:
            body = {"content": content}
            return api.post(path(conversation, "messages"), body, headers={"Idempotency-Key": "k"})

        first, again, other = post("Hi"), post("Hi"), post("Ho")
        assert (again.status_code, again.json()) == (202, first.json())
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
        assert Message.objects.count() == 1

    def test_new_runs_have_a_rate(
        self, api: APIClient, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates = {**api_settings.DEFAULT_THROTTLE_RATES, "runs": "1/min"}
        monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates, raising=False)
        assert [say(api, conversation).status_code for _ in range(2)] == [202, 429]


@pytest.mark.django_db(transaction=True)
def test_f13_parallel_messages_get_one_open_run_and_their_own_positions(
    alice: User, conversation: Conversation
) -> None:
    statuses: list[int] = []

    def post(number: int) -> None:
        try:
            statuses.append(say(client_of(alice), conversation, f"m{number}").status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=post, args=[number]) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 10
    assert Run.objects.filter(status__in=Run.OPEN).count() == 1
    positions = [position for position in Message.objects.values_list("position", flat=True) if position]
    assert positions == [1]


class TestStatus:
    def status(self, api: APIClient, conversation: Conversation) -> dict[str, Any]:
        answer = api.get(path(conversation, "status"))
        assert answer.status_code == 200
        return dict(answer.json())

    def test_before_the_first_message_it_is_completed(self, api: APIClient, conversation: Conversation) -> None:
        assert self.status(api, conversation) == {
            "status": "completed",
            "conversation_id": conversation.pk,
            "run_id": None,
            "stats": {"turns": 0, "tokens": 0},
        }

    def test_while_a_run_is_open_it_is_processing(self, api: APIClient, conversation: Conversation) -> None:
        run_id = say(api, conversation).json()["run_id"]
        assert self.status(api, conversation).items() >= {"status": "processing", "run_id": run_id}.items()

    def test_once_completed_it_brings_the_answer(self, api: APIClient, run: Run) -> None:
        body = self.status(api, run.conversation)
        assert body["status"] == "completed"
        assert [message["content"] for message in body["messages"]] == ["Hello."]
        assert body["messages"][0]["tool_calls"][0]["call_id"] == "c1"

    def test_a_failure_says_why(self, api: APIClient, run: Run) -> None:
        Run.objects.update(status="failed", error="The model is away.", error_code="backend_unreachable")
        assert self.status(api, run.conversation).items() >= {
            "status": "failed", "error": "The model is away.", "error_code": "backend_unreachable",
        }.items()  # fmt: skip

    def test_polls_are_not_counted(
        self, api: APIClient, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates = {**api_settings.DEFAULT_THROTTLE_RATES, "user": "1/min"}
        monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates, raising=False)
        for _ in range(3):
            self.status(api, conversation)


class TestStopping:
    def test_an_open_run_is_cancelled(self, api: APIClient, conversation: Conversation) -> None:
        say(api, conversation)
        answer = api.post(path(conversation, "stop"))
        assert (answer.status_code, answer.json()) == (200, {"status": "cancelled", "conversation_id": conversation.pk})
        assert Run.objects.get().status == "cancelled"

    def test_with_nothing_running_it_says_so(self, api: APIClient, run: Run) -> None:
        for _ in range(2):
            answer = api.post(path(run.conversation, "stop"))
            assert answer.status_code == 200
            assert answer.json().items() >= {"status": "completed", "message": "Nothing was running."}.items()


def test_the_terminal_event_tells_the_answer_as_the_status_does(api: APIClient, run: Run) -> None:
    told = api.get(path(run.conversation, "status")).json()["messages"]
    name, data = status.terminal_event(run)
    assert name == "completed"
    assert json.loads(streams.dumps(data))["messages"] == told
