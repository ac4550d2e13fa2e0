"""A conversation under everything that can happen to it, in any order. What must hold, holds after every step.

The steps are those of the outside world: messages of each kind, jobs taken by workers that finish or die, answers
right, wrong, repeated and late, approvals, stops, expiry, a Redis that loses its data.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from conversations import answers, calls, history, journal, recovery, runs, toolbox, turns
from conversations.answers import Result
from conversations.models import Agent, Conversation, Message, OnBusy, Run, ToolCall
from maintenance import attempts, broker, executor, outbox, reconciler
from maintenance.errors import Refusal
from maintenance.models import Job, new_job_id
from models_registry.backends import anthropic_request, ollama_request, openai_request
from models_registry.backends.base import ChatMessage, ChatRequest, DeltaType, ModelConfig, Timeouts, ToolSchema
from models_registry.fakes import anthropic_rules, ollama_rules
from tests.conversations import events
from tests.conversations.scripts import call, fail, say
from tests.conversations.scripts import turns as scripted
from tests.queue import take
from tests.services import Valkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "25"))
STEPS = 30
AHEAD = timedelta(days=2)
TOOLS = [
    {"name": name, "description": "…", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}
    for name in ("look", "peek")
]
CALLS = st.sampled_from([
    call("todo_add", item="x"), call("todo_add"), call("todo_list"), call("look", path="a"), call("peek", path="b"),
    call("nonsense"), {"tool_call": {"name": "look", "arguments": "{\"path\": "}},
])  # fmt: skip
TURNS = st.lists(
    st.tuples(st.lists(CALLS, max_size=3), st.sampled_from([[], [say("hm")], [fail("backend_unreachable")]])),
    min_size=1,
    max_size=3,
)


@contextmanager
def refused_only_as(*codes: str) -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        if refusal.code not in codes:
            raise


class Machine(RuleBasedStateMachine):
    alice: ClassVar[User]

    def __init__(self) -> None:
        super().__init__()
        self.agent = Agent.objects.create(
            user=self.alice,
            name="Any",
            slug=f"any-{new_job_id()}",
            ai_backend="fake",
            model_config={"model": "script"},
            approvals={"todo_list": "always", "peek": "once"},
        )
        self.conversation = Conversation.objects.create(user=self.alice, agent=self.agent, client_tool_schemas=TOOLS)
        self.ended: dict[int, tuple[str, str]] = {}

    # What happens

    @rule(script=TURNS, on_busy=st.sampled_from([*OnBusy]))
    def message(self, script: list[Any], on_busy: str) -> None:
        steps = [[*said, *made] for made, said in script]
        if self.conversation.runs.count() > 12:
            return
        fresh = Conversation.objects.get(pk=self.conversation.pk)
        with refused_only_as("run_active", "waiting_for_tool"):
            runs.start(fresh, scripted(*steps, [say("end")]), on_busy=on_busy)

    @rule()
    def work(self) -> None:
        if dispatch := take():
            executor.perform(job_id=dispatch[0], dispatch=dispatch[1], worker="machine")

    @rule(phase=st.sampled_from(["claimed", "streaming", "calling"]))
    def die(self, phase: str) -> None:
        """A worker takes the next job and dies over it."""
        dispatch = take()
        if dispatch is None:
            return
        token = new_job_id()
        claim = attempts.claim(*dispatch, lease_token=token, worker="doomed")
        run = turns.claim(claim.job.arguments["run_id"], token) if claim and "run_id" in claim.job.arguments else None
        if run:
            self.come_to(phase, run)
        long_ago = timezone.now() - timedelta(seconds=60)
        Job.objects.filter(status="running").update(lease_expires_at=long_ago)
        Run.objects.filter(status__in=("running", "cancelling")).update(lease_expires_at=long_ago)
        reconciler.end_expired()

    def come_to(self, phase: str, run: Run) -> None:
        messages = history.of_run(run)
        if phase == "streaming" and turns.stored_reply(run, messages) is None:
            draft = turns.draft(run, messages)
            draft.add(DeltaType.CONTENT, "half")
            journal.save(run, draft, *draft.take(), seq=run.last_seq + 1)
        if phase == "calling" and (stored := turns.stored_reply(run, messages)):
            for one in calls.unanswered(stored)[:1]:
                if one.kind == ToolCall.Kind.SYSTEM and one.approval != ToolCall.Approval.WANTED:
                    calls.begin(one, run)

    @rule(
        which=st.integers(0, 5), outcome=st.sampled_from(["ok", "failed", "refused"]), text=st.sampled_from(["", "x"])
    )
    def answer(self, which: int, outcome: str, text: str) -> None:
        """Right, wrong, again or too late: whatever call comes up."""
        made = list(ToolCall.objects.filter(run__conversation=self.conversation).order_by("pk"))
        call_id = made[-1 - which % len(made)].call_id if made else "call_0_0"
        with refused_only_as("unknown_call", "already_answered", "not_waiting"):
            answers.submit(self.conversation, [Result(call_id=call_id, outcome=outcome, text=text)])

    @rule(yes=st.booleans(), last=st.booleans())
    def decide(self, yes: bool, last: bool) -> None:
        asked = ToolCall.objects.filter(run__conversation=self.conversation).exclude(approval="not_needed")
        one = asked.order_by("pk").last() if last else asked.order_by("pk").first()
        if one is None:
            return
        with refused_only_as("already_answered", "not_waiting"):
            (answers.approve if yes else answers.deny)(one.run, one.call_id, by=self.alice)

    @rule()
    def stop(self) -> None:
        runs.cancel(self.conversation)

    @rule()
    def retry(self) -> None:
        run = self.conversation.runs.order_by("-pk").first()
        if run and self.conversation.runs.count() < 12:
            with refused_only_as("not_retryable", "run_active", "already_retried"):
                runs.retry(run)

    @rule()
    def expire(self) -> None:
        Run.objects.filter(status="waiting_for_tool").update(expires_at=timezone.now() - AHEAD)
        recovery.reconcile()

    @rule()
    def lose_redis(self) -> None:
        broker.quick().flushall()
        Job.objects.filter(status="queued").update(pushed_at=timezone.now() - AHEAD)
        outbox.recover_lost()
        outbox.relay()

    # What holds

    @invariant()
    def at_most_one_run_is_open(self) -> None:
        assert self.conversation.runs.filter(status__in=Run.OPEN).count() <= 1

    @invariant()
    def what_has_ended_stays_so_and_is_told_once(self) -> None:
        for run in self.conversation.runs.filter(status__in=Run.TERMINAL):
            assert self.ended.setdefault(run.pk, (run.status, run.reason)) == (run.status, run.reason)
            assert not run.tool_calls.filter(status__in=ToolCall.UNANSWERED).exists()
        told = [data["run_id"] for name, data in events.published(self.conversation.pk) if name in events.TERMINAL]
        assert len(told) == len(set(told))
        assert set(told) <= set(self.ended)

    @invariant()
    def every_call_is_answered_at_most_once_and_in_its_place(self) -> None:
        for one in ToolCall.objects.filter(run__conversation=self.conversation).select_related("message"):
            said = list(Message.objects.filter(conversation=self.conversation, tool_call_id=one.call_id))
            assert len(said) == (0 if one.status in ToolCall.UNANSWERED else 1)
            assert [m.position for m in said] in ([], [(one.message.position or 0) + one.position + 1])

    @invariant()
    @precondition(lambda self: not self.conversation.runs.filter(status__in=Run.OPEN).exists())
    def every_provider_takes_the_history(self) -> None:
        last = self.conversation.runs.exclude(status="pending").order_by("pk").last()
        if last is None:
            return
        said = list(Message.objects.filter(conversation=self.conversation, position__isnull=False).order_by("position"))
        tools = [tool.schema for tool in toolbox.of_conversation(self.agent, self.conversation)]
        request = asked_of([*history.as_values(said), ChatMessage(role="user", content="and now?")], tools)
        assert anthropic_rules.broken(anthropic_request.body(request)) is None
        assert ollama_rules.broken(ollama_request.body(request, "5m"), thinks=False) is None
        assert_answered(openai_request.body(request, extensions=False)["messages"])

    @invariant()
    def no_run_is_forgotten(self) -> None:
        """What is queued has a job, or the reconciler gives it one."""
        pending = self.conversation.runs.filter(status="pending").exists()
        assert not pending or self.conversation.runs.filter(status__in=Run.OPEN).exists()
        for run in self.conversation.runs.filter(status="queued"):
            assert Job.objects.filter(pk=run.job_id, status__in=Job.UNFINISHED).exists()

    def teardown(self) -> None:
        """Left alone, every conversation comes to its end."""
        unfinished = self.conversation.runs.exclude(status__in=Run.TERMINAL)
        for _ in range(60):
            if not unfinished.exists():
                break
            self.expire()
            self.lose_redis()
            if dispatch := take():
                executor.perform(job_id=dispatch[0], dispatch=dispatch[1], worker="machine")
        assert not unfinished.exists()
        assert not connection.in_atomic_block


def asked_of(messages: list[ChatMessage], tools: list[ToolSchema]) -> ChatRequest:
    limits = Timeouts(connect=1, first_byte=1, idle=1, total=1)
    config = ModelConfig(model="m", max_tokens=100, context_length=1000)
    return ChatRequest(messages=messages, config=config, timeouts=limits, tools=tools)


def assert_answered(messages: list[dict[str, Any]]) -> None:
    """OpenAI's rule: after a message with calls, one answer for each of them, before anything else."""
    wanted: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in wanted
            wanted.remove(message["tool_call_id"])
        else:
            assert not wanted
            wanted = [one["id"] for one in message.get("tool_calls", [])]
    assert not wanted


def _run(examples: int, alice: User) -> None:
    Machine.alice = alice
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[*HealthCheck],
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )


def test_whatever_happens_to_a_conversation_it_stays_whole(alice: User, valkey: Valkey) -> None:
    _run(EXAMPLES, alice)


@pytest.mark.long
def test_whatever_happens_to_a_conversation_a_thousand_times(alice: User, valkey: Valkey) -> None:
    _run(1000, alice)
