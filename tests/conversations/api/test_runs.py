from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from conversations.models import Run, Snapshot
from tests.conversations.api.conftest import ended_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


def test_a_run_tells_its_whole_story(api: APIClient, run: Run) -> None:
    body = api.get(f"/api/v1/runs/{run.pk}").json()
    assert body.items() >= {
        "id": run.pk, "conversation_id": run.conversation_id, "user_message_id": run.user_message_id,
        "status": "completed", "turn_count": 1, "snapshot_id": run.snapshot.pk, "job_ids": [],
    }.items()  # fmt: skip
    assert body["turns"][0]["tool_calls"][0]["name"] == "look"
    assert set(body["usage"]) >= {"prompt_tokens", "completion_tokens", "total_tokens", "estimated"}
    assert set(body["timings"]) == {"queue_wait_seconds", "first_token_seconds", "run_seconds"}


def test_a_run_without_a_snapshot_is_shown_too(api: APIClient, run: Run) -> None:
    Snapshot.objects.all().delete()
    assert api.get(f"/api/v1/runs/{run.pk}").json()["snapshot_id"] is None


def test_runs_are_listed_newest_first_at_the_same_cost(
    api: APIClient, run: Run, django_assert_num_queries: Callable[..., Any]
) -> None:
    def listed() -> list[int]:
        with django_assert_num_queries(5):  # the conversation, count, runs with snapshots, answers, tool calls
            rows = api.get(f"/api/v1/conversations/{run.conversation_id}/runs?per_page=100").json()["data"]
        return [row["id"] for row in rows]

    assert listed() == [run.pk]
    later = [ended_run(run.conversation).pk for _ in range(19)]
    assert listed() == [*reversed(later), run.pk]


def test_a_failed_run_can_be_retried(api: APIClient, run: Run) -> None:
    Run.objects.update(status="failed")
    answer = api.post(f"/api/v1/runs/{run.pk}/retry")
    assert answer.status_code == 202
    again = Run.objects.get(pk=answer.json()["run_id"])
    assert (again.retry_of, again.user_message, again.status) == (run, run.user_message, "queued")
    assert api.get(f"/api/v1/runs/{again.pk}").json()["retry_of_id"] == run.pk


def test_a_run_that_completed_is_not_retried(api: APIClient, run: Run) -> None:
    answer = api.post(f"/api/v1/runs/{run.pk}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")


def test_a_retry_waits_for_no_other_run(api: APIClient, run: Run) -> None:
    Run.objects.update(status="failed")
    api.post(f"/api/v1/runs/{run.pk}/retry")
    answer = api.post(f"/api/v1/runs/{run.pk}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_active")
    assert "active_run" in answer.json()


def test_the_same_key_retries_once(api: APIClient, run: Run) -> None:
    Run.objects.update(status="failed")
    answers = [api.post(f"/api/v1/runs/{run.pk}/retry", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert Run.objects.count() == 2


class TestSnapshots:
    def test_f16_a_snapshot_is_shown(self, api: APIClient, run: Run) -> None:
        body = api.get(f"/api/v1/snapshots/{run.snapshot.pk}").json()
        assert body.items() >= {
            "id": run.snapshot.pk, "run_id": run.pk, "conversation_id": run.conversation_id, "agent_name": "Parrot",
            "system_prompt": "You are Parrot.", "backend": "fake", "model": "echo", "tools": [], "warnings": [],
        }.items()  # fmt: skip

    def test_two_that_are_alike_have_no_differences(self, api: APIClient, run: Run) -> None:
        other = ended_run(run.conversation).snapshot
        body = api.get(f"/api/v1/snapshots/{run.snapshot.pk}/diff/{other.pk}").json()
        runs = body.pop("runs")
        assert body == {"snapshot_id": run.snapshot.pk, "other_id": other.pk, "same": True, "changes": {}}
        assert [(one["run_id"], one["status"], one["turn_count"]) for one in runs] == [
            (run.pk, "completed", 1), (other.run_id, "completed", 1),
        ]  # fmt: skip

    def test_differences_are_named(self, api: APIClient, run: Run) -> None:
        other = ended_run(run.conversation).snapshot
        Snapshot.objects.filter(pk=other.pk).update(
            model="other", config={"temperature": 1}, system_prompt="You are Parrot.\nBe kind."
        )
        changes = api.get(f"/api/v1/snapshots/{run.snapshot.pk}/diff/{other.pk}").json()["changes"]
        assert set(changes) == {"model", "config", "system_prompt"}
        assert changes["model"] == {"from": "echo", "to": "other"}
        assert '+  "temperature": 1' in changes["config"]["diff"]
        assert "+Be kind." in changes["system_prompt"]["diff"]
        assert (changes["system_prompt"]["added"], changes["system_prompt"]["removed"]) == (2, 1)

    def test_different_answers_are_a_difference(self, api: APIClient, run: Run) -> None:
        other = ended_run(run.conversation, answer="Good day.").snapshot
        body = api.get(f"/api/v1/snapshots/{run.snapshot.pk}/diff/{other.pk}").json()
        assert (body["same"], list(body["changes"])) == (False, ["answer"])
        assert body["changes"]["answer"]["diff"][-2:] == ["-Hello.", "+Good day."]
