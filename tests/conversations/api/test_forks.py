"""Forking, regenerating, replaying, and seeing what was sent, over the API."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from conversations import runs
from conversations.models import Agent, Conversation, Message, Run, Snapshot

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


@pytest.fixture
def answered(conversation: Conversation, agent: Agent, work: Callable[[], list[str]]) -> Run:
    """A run that completed."""
    run = runs.start(conversation, "Hello there.")
    work()
    return Run.objects.select_related("snapshot", "conversation").get(pk=run.pk)


def fork(api: APIClient, run: Run, **body: Any) -> Any:
    return api.post(f"/api/v1/conversations/{run.conversation_id}/fork", body)


class TestForks:
    def test_a_fork_is_a_whole_new_conversation(self, api: APIClient, answered: Run) -> None:
        answer = fork(api, answered, position=2)
        body = answer.json()
        assert answer.status_code == 201
        assert (body["forked_from_id"], body["forked_at"]) == (answered.conversation_id, 2)
        assert (body["status"], body["turn_count"]) == ("completed", 0)
        assert [(one["position"], one["role"], one["content"]) for one in body["messages"]] == [
            (1, "user", "Hello there."),
            (2, "assistant", "Hello there."),
        ]

    def test_forks_count_as_new_runs_do_for_each_copies_a_conversation(
        self, api: APIClient, answered: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates = {**api_settings.DEFAULT_THROTTLE_RATES, "runs": "1/min"}
        monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates, raising=False)
        assert [fork(api, answered, position=2).status_code for _ in range(2)] == [201, 429]

    def test_a_message_is_named_by_its_id_too(self, api: APIClient, answered: Run) -> None:
        body = fork(api, answered, message_id=answered.user_message_id).json()
        assert len(body["messages"]) == 1

    @pytest.mark.parametrize("body", [{}, {"position": 1, "message_id": 1}, {"position": 0}, {"position": 3}])
    def test_one_place_has_to_be_named_and_has_to_be_there(
        self, api: APIClient, answered: Run, body: dict[str, int]
    ) -> None:
        answer = fork(api, answered, **body)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["position"])

    def test_a_message_of_another_conversation_is_not_there(self, api: APIClient, answered: Run) -> None:
        other = Conversation.objects.create(user=answered.conversation.user, agent=answered.conversation.agent)
        message = Message.objects.create(conversation=other, position=1, role="user", content="x")
        assert fork(api, answered, message_id=message.pk).status_code == 404

    def test_the_same_key_forks_once(self, api: APIClient, answered: Run) -> None:
        address = f"/api/v1/conversations/{answered.conversation_id}/fork"
        answers = [api.post(address, {"position": 1}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        assert Conversation.objects.count() == 2


class TestRegenerating:
    def test_the_newest_answer_is_made_anew(self, api: APIClient, answered: Run) -> None:
        answer = api.post(f"/api/v1/runs/{answered.pk}/regenerate")
        assert answer.status_code == 202
        new = Run.objects.get(pk=answer.json()["run_id"])
        assert (new.retry_of, new.user_message, new.status) == (answered, answered.user_message, "queued")

    def test_a_failed_run_is_to_be_retried_instead(self, api: APIClient, answered: Run) -> None:
        Run.objects.update(status="failed")
        answer = api.post(f"/api/v1/runs/{answered.pk}/regenerate")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_completed")

    def test_of_an_older_run_the_newest_is_named(self, api: APIClient, answered: Run) -> None:
        newest = Run.objects.create(
            conversation=answered.conversation, user_message=answered.user_message, status="completed"
        )
        body = api.post(f"/api/v1/runs/{answered.pk}/regenerate").json()
        assert (body["code"], body["newest_run_id"]) == ("not_newest", newest.pk)


class TestReplaying:
    def test_a_replay_is_accepted_and_says_what_it_replays(self, api: APIClient, answered: Run) -> None:
        answer = api.post(f"/api/v1/snapshots/{answered.snapshot.pk}/replay", {"model": "slow"})
        body = answer.json()
        assert (answer.status_code, body["status"]) == (202, "processing")
        assert body["conversation_id"] != answered.conversation_id
        told = api.get(f"/api/v1/runs/{body['run_id']}").json()
        assert (told["replay_of_id"], told["retry_of_id"], told["warnings"]) == (answered.snapshot.pk, None, [])
        assert api.get(f"/api/v1/snapshots/{told['snapshot_id']}").json()["model"] == "slow"

    def test_the_two_are_compared(self, api: APIClient, answered: Run, work: Callable[[], list[str]]) -> None:
        api.post(f"/api/v1/snapshots/{answered.snapshot.pk}/replay", {"model_config": {"temperature": 0.3}})
        work()
        replayed = Snapshot.objects.exclude(pk=answered.snapshot.pk).get()
        body = api.get(f"/api/v1/snapshots/{answered.snapshot.pk}/diff/{replayed.pk}").json()
        assert set(body["changes"]) == {"config", "tools"}
        assert [one["conversation_id"] for one in body["runs"]] == [
            answered.conversation_id,
            replayed.run.conversation_id,
        ]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"backend": "nowhere"}, "backend"),
            ({"model_config": {"x": 1}}, "model_config.x"),
            ({"modle": "a"}, "modle"),
        ],
    )
    def test_what_cannot_be_used_is_422(self, api: APIClient, answered: Run, body: dict[str, Any], field: str) -> None:
        answer = api.post(f"/api/v1/snapshots/{answered.snapshot.pk}/replay", body)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, [field])
        assert Conversation.objects.count() == 1


class TestRequests:
    def test_what_was_sent_is_shown_as_it_was(self, api: APIClient, answered: Run) -> None:
        body = api.get(f"/api/v1/runs/{answered.pk}/turns/1/request").json()
        assert [(one["role"], one["content"]) for one in body["request"]["messages"]] == [
            ("system", "You are Parrot."),
            ("user", "Hello there."),
        ]
        assert body["request"]["config"]["model"] == "echo"
        assert "todo_add" in [tool["name"] for tool in body["request"]["tools"]]
        assert (body["exact"], body["turn"], body["backend"], body["model"]) == (True, 1, "fake", "echo")
        assert body["window"]["trimmed"] == 0
        assert body["window"]["counted"] == answered.prompt_tokens
        assert "timeouts" not in body["request"]

    @pytest.mark.parametrize("turn", [0, 2, 10**30])
    def test_a_turn_that_there_was_not_is_404(self, api: APIClient, answered: Run, turn: int) -> None:
        assert api.get(f"/api/v1/runs/{answered.pk}/turns/{turn}/request").status_code == 404

    def test_where_nothing_was_noted_that_is_said(self, api: APIClient, answered: Run) -> None:
        Message.objects.update(request={})
        answer = api.get(f"/api/v1/runs/{answered.pk}/turns/1/request")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_noted")
