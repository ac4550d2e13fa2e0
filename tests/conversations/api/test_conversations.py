from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from conversations import stream
from conversations.models import Agent, Conversation, Message, Run, ToolCall
from maintenance import broker, streams
from tests.conversations.api.conftest import ended_run

pytestmark = pytest.mark.django_db
CONVERSATIONS = "/api/v1/conversations"
SHAPE = {
    "id", "agent_id", "user_id", "agent", "title", "status", "waiting_for", "pending_tool_request", "approvals",
    "metadata", "turn_count", "total_tokens", "token_usage", "active_run", "client_type", "client_tool_schemas",
    "forked_from_id", "forked_at", "started_at", "last_activity_at", "completed_at", "created_at", "updated_at",
}  # fmt: skip
MESSAGE = {
    "id", "position", "role", "name", "content", "thinking", "status", "token_count", "tool_calls", "tool_call_id",
    "images", "attachments", "created_at",
}  # fmt: skip
TOOL = {"name": "read_file", "description": "Reads.", "parameters": {"type": "object", "properties": {}}}


def opened(api: APIClient, agent: Agent, **body: Any) -> Any:
    return api.post(f"/api/v1/agents/{agent.pk}/conversations", body)


def many(conversation: Conversation, number: int) -> None:
    for _ in range(number):
        ended_run(Conversation.objects.create(user=conversation.user, agent=conversation.agent))


class TestOpening:
    def test_f15_it_is_idle_which_clients_know_as_completed(self, api: APIClient, agent: Agent) -> None:
        answer = opened(api, agent, client_type="terminal", title="First", metadata={"a": [1]})
        assert answer.status_code == 201
        body = answer.json()
        assert set(body) == SHAPE | {"messages"}
        assert (body["status"], body["waiting_for"], body["messages"], body["active_run"]) == (
            "completed",
            "none",
            [],
            None,
        )
        assert (body["client_type"], body["title"], body["metadata"]) == ("terminal", "First", {"a": [1]})

    def test_f17_the_title_is_kept_and_unknown_fields_are_refused(self, api: APIClient, agent: Agent) -> None:
        assert opened(api, agent, title="Kept").json()["title"] == "Kept"
        assert list(opened(api, agent, titel="x").json()["errors"]) == ["titel"]

    def test_f12_metadata_is_stored_and_means_nothing(self, api: APIClient, agent: Agent) -> None:
        body = opened(api, agent, metadata={"max_turns": 10**9, "request_turn_count": -5}).json()
        assert body["metadata"] == {"max_turns": 10**9, "request_turn_count": -5}
        assert body["turn_count"] == 0
        api.post(f"{CONVERSATIONS}/{body['id']}/messages", {"content": "hi"})
        assert Run.objects.get().max_turns == agent.max_turns

    def test_f51_metadata_has_a_limit(self, api: APIClient, agent: Agent) -> None:
        assert list(opened(api, agent, metadata={"a": "x" * 70_000}).json()["errors"]) == ["metadata"]

    def test_tools_of_the_client_are_stored(self, api: APIClient, agent: Agent) -> None:
        assert opened(api, agent, client_tool_schemas=[TOOL]).json()["client_tool_schemas"] == [TOOL]

    @pytest.mark.parametrize(
        "tool",
        [
            {"description": "no name"},
            {"name": "bad name"},
            {"name": "x" * 65},
            {"name": "x", "parameters": {"type": "nonsense"}},
            {"name": "x", "parameters": "text"},
            "text",
        ],
    )
    def test_a_tool_that_is_none_is_422(self, api: APIClient, agent: Agent, tool: Any) -> None:
        answer = opened(api, agent, client_tool_schemas=[tool])
        assert answer.status_code == 422
        assert all(name.startswith("client_tool_schemas") for name in answer.json()["errors"])

    def test_two_tools_of_one_name_are_422(self, api: APIClient, agent: Agent) -> None:
        assert opened(api, agent, client_tool_schemas=[TOOL, TOOL]).status_code == 422

    def test_f51_too_many_tools_are_413(self, api: APIClient, agent: Agent) -> None:
        tools = [{**TOOL, "name": f"t{number}"} for number in range(65)]
        assert opened(api, agent, client_tool_schemas=tools).status_code == 413
        assert opened(api, agent, client_tool_schemas=tools[:64]).status_code == 201

    def test_f51_too_large_tools_are_413(self, api: APIClient, agent: Agent) -> None:
        tools = [{**TOOL, "name": f"t{number}", "description": "x" * 19_000} for number in range(14)]
        assert opened(api, agent, client_tool_schemas=tools).status_code == 413


class TestListing:
    def ids(self, api: APIClient, **query: Any) -> list[int]:
        return [row["id"] for row in api.get(CONVERSATIONS, query).json()["data"]]

    def test_a_row_counts_its_messages(self, api: APIClient, run: Run) -> None:
        row = api.get(CONVERSATIONS).json()["data"][0]
        assert set(row) == SHAPE | {"message_count"}
        assert row["message_count"] == 2

    def test_the_newest_activity_comes_first(self, api: APIClient, agent: Agent) -> None:
        now = timezone.now()
        rows = [
            Conversation.objects.create(user=agent.user, agent=agent, last_activity_at=now - timedelta(minutes=minutes))
            for minutes in (5, 1, 9)
        ]
        assert self.ids(api) == [rows[1].pk, rows[0].pk, rows[2].pk]

    def test_a_posted_message_is_activity(self, api: APIClient, agent: Agent) -> None:
        first, second = (opened(api, agent).json()["id"] for _ in range(2))
        assert self.ids(api) == [second, first]
        api.post(f"{CONVERSATIONS}/{first}/messages", {"content": "hi"})
        assert self.ids(api) == [first, second]

    def test_agents_and_statuses_filter(self, api: APIClient, conversation: Conversation) -> None:
        other = Agent.objects.create(user=conversation.user, name="Other", slug="other")
        busy = Conversation.objects.create(user=conversation.user, agent=other, status="active")
        assert self.ids(api, agent_id=other.pk) == [busy.pk]
        assert self.ids(api, status="active") == [busy.pk]
        assert self.ids(api, status="completed") == [conversation.pk]
        assert self.ids(api, agent_id="", status="") == [busy.pk, conversation.pk]

    @pytest.mark.parametrize("query", [{"status": "waiting_tool"}, {"agent_id": "x"}, {"agent_id": 10**30}])
    def test_f15_a_filter_that_cannot_match_is_422(self, api: APIClient, query: Any) -> None:
        answer = api.get(CONVERSATIONS, query)
        assert (answer.status_code, list(answer.json()["errors"])) == (422, list(query))

    def test_titles_and_messages_are_searched(self, api: APIClient, agent: Agent) -> None:
        titled = opened(api, agent, title="About Cats").json()["id"]
        spoken = Conversation.objects.create(user=agent.user, agent=agent)
        ended_run(spoken, answer="A cat sat.")
        opened(api, agent, title="Dogs")
        assert sorted(self.ids(api, search="cat")) == sorted([titled, spoken.pk])

    @pytest.mark.parametrize("text", ["%", "_", "\\", "100%"])
    def test_f51_wildcards_are_letters(self, api: APIClient, agent: Agent, text: str) -> None:
        opened(api, agent, title="100 things")
        assert self.ids(api, search=text) == []
        meant = opened(api, agent, title=f"is {text} here").json()["id"]
        assert self.ids(api, search=text) == [meant]

    def test_the_list_costs_the_same_for_one_and_for_many(
        self, api: APIClient, conversation: Conversation, django_assert_num_queries: Callable[..., Any]
    ) -> None:
        Run.objects.update(status="running")

        def listed() -> int:
            with django_assert_num_queries(3):  # count, rows with agents, open runs
                return len(api.get(CONVERSATIONS, {"per_page": 100}).json()["data"])

        assert listed() == 1
        many(conversation, 19)
        assert listed() == 20


class TestReading:
    def test_it_comes_with_its_messages_in_order(self, api: APIClient, run: Run) -> None:
        body = api.get(f"{CONVERSATIONS}/{run.conversation_id}").json()
        assert set(body) == SHAPE | {"messages"}
        assert [set(message) for message in body["messages"]] == [MESSAGE, MESSAGE]
        question, answer = body["messages"]
        assert (question["role"], question["content"], question["tool_calls"]) == ("user", "Hi.", None)
        assert (question["name"], question["thinking"], question["tool_call_id"]) == (None, None, None)
        assert (question["images"], question["attachments"]) == ([], [])
        assert answer["tool_calls"][0].items() >= {
            "call_id": "c1", "name": "look", "function_name": "look", "arguments": {}, "position": 0,
            "status": "succeeded", "result": "seen", "is_error": False,
        }.items()  # fmt: skip

    def test_a_message_that_waits_comes_last(self, api: APIClient, run: Run) -> None:
        waiting = Message.objects.create(conversation=run.conversation, role="user", content="Next", status="queued")
        ended_run(run.conversation)
        body = api.get(f"{CONVERSATIONS}/{run.conversation_id}").json()
        assert body["messages"][-1]["id"] == waiting.pk
        assert body["messages"][-1]["position"] is None

    def test_messages_can_be_left_out(self, api: APIClient, run: Run) -> None:
        body = api.get(f"{CONVERSATIONS}/{run.conversation_id}?messages=none").json()
        assert set(body) == SHAPE | {"message_count"}

    def test_messages_after_a_position(self, api: APIClient, run: Run) -> None:
        Message.objects.create(conversation=run.conversation, role="user", content="Next", status="queued")
        body = api.get(f"{CONVERSATIONS}/{run.conversation_id}?after=1").json()
        assert [message["position"] for message in body["messages"]] == [2, None]

    @pytest.mark.parametrize("after", ["x", "-1", 10**30])
    def test_a_position_that_is_none_is_422(self, api: APIClient, conversation: Conversation, after: Any) -> None:
        assert api.get(f"{CONVERSATIONS}/{conversation.pk}?after={after}").status_code == 422

    def test_it_costs_the_same_for_few_and_for_many_messages(
        self, api: APIClient, run: Run, django_assert_num_queries: Callable[..., Any]
    ) -> None:
        def read() -> int:
            with django_assert_num_queries(4):  # the row with its agent, open runs, messages, tool calls
                return len(api.get(f"{CONVERSATIONS}/{run.conversation_id}").json()["messages"])

        assert read() == 2
        for _ in range(19):
            ended_run(run.conversation)
        assert read() == 40

    def test_a_run_that_waits_shows_what_it_waits_for(self, api: APIClient, run: Run) -> None:
        Run.objects.update(status="waiting_for_tool")
        ToolCall.objects.update(status="pending", result="", arguments={"path": "a"})
        body = api.get(f"{CONVERSATIONS}/{run.conversation_id}").json()
        assert body["waiting_for"] == "tool_result"
        assert body["pending_tool_request"] == {"call_id": "c1", "name": "look", "arguments": {"path": "a"}}
        assert body["active_run"]["status"] == "waiting_for_tool"
        assert body["messages"][1]["tool_calls"][0]["result"] is None

    def test_tokens_fill_the_window_by_the_newest_run(self, api: APIClient, run: Run) -> None:
        Conversation.objects.update(prompt_tokens=3_000_000_000, completion_tokens=10, context_limit=1000)
        Run.objects.update(prompt_tokens=400, completion_tokens=100, turn_count=2)
        body = api.get(f"{CONVERSATIONS}/{run.conversation_id}").json()
        assert body["total_tokens"] == 3_000_000_010
        assert body["token_usage"] == {
            "prompt_tokens": 3_000_000_000,
            "completion_tokens": 10,
            "total_tokens": 3_000_000_010,
            "context_limit": 1000,
            "usage_percentage": 25.0,
        }


class TestChanging:
    def test_title_and_metadata_can_change(self, api: APIClient, conversation: Conversation) -> None:
        answer = api.patch(f"{CONVERSATIONS}/{conversation.pk}", {"title": "New", "metadata": {"b": 1}})
        assert answer.status_code == 200
        assert (answer.json()["title"], answer.json()["metadata"]) == ("New", {"b": 1})

    @pytest.mark.parametrize("field", ["status", "turn_count", "max_turns", "agent_id", "user_id", "total_tokens"])
    def test_f12_nothing_else_can(self, api: APIClient, conversation: Conversation, field: str) -> None:
        answer = api.patch(f"{CONVERSATIONS}/{conversation.pk}", {field: 1})
        assert (answer.status_code, list(answer.json()["errors"])) == (422, [field])

    @pytest.mark.usefixtures("valkey")
    def test_f18_deleting_cancels_the_run_and_forgets_its_events(
        self, api: APIClient, conversation: Conversation, django_capture_on_commit_callbacks: Callable[..., Any]
    ) -> None:
        for text in ("one", "two"):
            api.post(f"{CONVERSATIONS}/{conversation.pk}/messages", {"content": text})
        streams.append(stream.key(conversation.pk), [("text_chunk", {"chunk": "a"})])
        with django_capture_on_commit_callbacks(execute=True):
            assert api.delete(f"{CONVERSATIONS}/{conversation.pk}").status_code == 204
        assert not Conversation.objects.exists()
        assert not Run.objects.exists()
        assert not broker.quick().exists(stream.key(conversation.pk))
        assert api.get(f"{CONVERSATIONS}/{conversation.pk}").status_code == 404

    def test_f18_deleting_works_while_redis_is_away(
        self, api: APIClient, conversation: Conversation, valkey: Any, django_capture_on_commit_callbacks: Any
    ) -> None:
        valkey.stop()
        broker.forget()
        with django_capture_on_commit_callbacks(execute=True):
            assert api.delete(f"{CONVERSATIONS}/{conversation.pk}").status_code == 204
        assert not Conversation.objects.exists()
