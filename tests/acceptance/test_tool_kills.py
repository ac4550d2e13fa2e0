"""Workers are killed in every phase of a turn with a tool: what the tool does is done once, and the run ends right.

The tool counts its requests, and the model's server what it was asked: no call that was finished is made again.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from conversations import answers, runs
from conversations.answers import Result
from conversations.models import Agent, Conversation, Message, Run, ToolCall
from conversations.tools import INTERRUPTED
from maintenance import pauses
from models_registry.fakes.http import Script, Server
from tests.acceptance.conftest import Workers
from tests.conversations import events
from tests.conversations.tool_plots import HALF, MODEL, SILENCE, CountingTool, PlotModel, calls, give, says
from tests.processes import command_line, until
from tests.services import Valkey

pytestmark = pytest.mark.acceptance

PROMISE = 150
END = [says("the end")]
# By phase, what the model says in its turns; of several replies of one turn, one for each time that it is asked.
PLOTS: dict[str, list[list[Script]]] = {
    "silent": [[SILENCE, calls(("count", "silent"))], END],
    "streaming": [[HALF, calls(("count", "streaming"))], END],
    "before": [[calls(("count", "stall-before"), ("count", "before"))], END],
    "calling": [[calls(("count", "calling"))], END],
    "after": [[calls(("count", "after"), ("count", "stall-after"))], END],
    "second": [[calls(("count", "second"))], [SILENCE, says("the end")]],
    "waiting": [[calls(("count", "waiting"), ("look", "waiting"))], END],
    "answered": [[calls(("count", "answered"), ("look", "answered"))], END],
    "queued": [[calls(("count", "queued"))], END],
}
STALLING = ("stall-before", "calling", "stall-after")
PROCESSES = 7  # one for each run that is held, and one for the others
HELD = ("silent", "streaming", "before", "calling", "after", "second")


@dataclass
class Stage:
    """Workers, a model and a tool, and the agent that uses both."""

    workers: Workers
    model: PlotModel
    tool: CountingTool
    agent: Agent

    def start(self, phase: str) -> Run:
        """A run of this plot in a conversation of its own."""
        return runs.start(Conversation.objects.create(user=self.agent.user, agent=self.agent), phase)

    def asked(self, phase: str) -> list[int]:
        """How often the model was asked, for each turn of the plot."""
        return [self.model.asked[phase, turn] for turn in range(len(self.model.plots[phase]))]

    def reached(self, phase: str, run: Run) -> bool:
        """Whether the run is where it is to be killed."""
        counted, asked = self.tool.counted, self.model.asked
        run = Run.objects.get(pk=run.pk)
        reached: dict[str, Callable[[], bool]] = {
            "silent": lambda: asked[phase, 0] == 1,
            "streaming": lambda: "half" in events.text_of(run.conversation_id, run.pk),
            "before": lambda: counted["stall-before"] == 1,
            "calling": lambda: counted["calling"] == 1,
            "after": lambda: counted["stall-after"] == 1,
            "second": lambda: asked[phase, 1] == 1,
            "waiting": lambda: run.status == "waiting_for_tool",
            "answered": lambda: run.status == "waiting_for_tool",
            "queued": lambda: (run.status, run.turn_count) == ("queued", 1),
        }
        return reached[phase]()


Stages = Callable[..., Stage]


@pytest.fixture
def stage(valkey: Valkey, transactional_db: None, agent: Agent) -> Iterator[Stages]:
    """Makes the stage, with these variables in the workers' environment."""
    model, tool = PlotModel(PLOTS), CountingTool(*STALLING)
    started: list[Workers] = []
    with Server(model.answer) as models, Server(tool.answer) as tools:
        agent.ai_backend, agent.model_config, agent.system_tools = "openai", {"model": MODEL}, []
        agent.save()
        give(agent, tools.url)

        def make(processes: int, **environment: str) -> Stage:
            own = {"OPENAI_BASE_URL": f"{models.url}/v1", "OUTBOUND_ALLOWED": urlsplit(tools.url).netloc}
            workers = Workers(AI_WORKERS_PROCESSES=str(processes), **own, **environment)
            started.append(workers)
            workers.start(processes)
            return Stage(workers, model, tool, agent)

        try:
            yield make
        finally:
            for workers in started:
                workers.kill()


def ended(run: Run) -> Run:
    until(lambda: Run.objects.get(pk=run.pk).status in Run.TERMINAL, PROMISE)
    return Run.objects.get(pk=run.pk)


def ends_in_stream(run: Run) -> list[str]:
    """The run's terminal events; the first one follows the commit that ended it."""

    def found() -> list[str]:
        return [n for n, d in events.published(run.conversation_id) if n in events.TERMINAL and d["run_id"] == run.pk]

    until(found)
    return found()


def answer(run: Run) -> None:
    """As its client does."""
    run = Run.objects.get(pk=run.pk)
    given = [Result(call_id=call.call_id, outcome="ok", text="seen") for call in answers.wanted(run)]
    answers.submit(run.conversation, given)


def put_in_place(stage: Stage, bob: User) -> dict[str, Run]:
    """A run in each phase."""
    placed = {phase: stage.start(phase) for phase in (*HELD, "waiting", "answered")}
    until(lambda: all(stage.reached(phase, run) for phase, run in placed.items()))
    assert pauses.pause("high", bob, "what comes next has to wait")
    answer(placed["answered"])
    placed["queued"] = stage.start("queued")
    until(lambda: stage.reached("queued", placed["queued"]))
    return placed


def kill_horses_and_a_worker(stage: Stage, placed: dict[str, Run]) -> None:
    """Every process that holds a run, and one that holds none."""
    jobs = {str(Run.objects.get(pk=placed[phase].pk).job_id) for phase in HELD}
    horses = [horse for job in jobs for horse in stage.workers.named(f"rqworker: horse {job}")]
    assert len(horses) == len(HELD)
    idle = [
        pid for pid in stage.workers.named("rqworker: ai-workers") if not any(job in command_line(pid) for job in jobs)
    ]
    for pid in (*horses, *idle):
        os.kill(pid, signal.SIGKILL)


def kill_all_workers(stage: Stage, placed: dict[str, Run]) -> None:
    """Their horses end with them, and nobody is left to say so but the leases."""
    for pid in stage.workers.named("rqworker: ai-workers"):
        os.kill(pid, signal.SIGKILL)


def kill_all_and_start_again(stage: Stage, placed: dict[str, Run]) -> None:
    stage.workers.kill()
    stage.workers.start(PROCESSES)


def go_on(stage: Stage, placed: dict[str, Run], bob: User) -> dict[str, Run]:
    """What clients and operators do after the kill; the runs as they ended."""
    lost = ended(placed["streaming"])
    assert (lost.status, lost.error_code, lost.messages.get().content) == ("failed", "worker_lost", "half")
    assert ends_in_stream(lost) == ["failed"]
    pauses.resume("high", bob)
    answer(placed["waiting"])
    placed["streaming"] = runs.retry(lost)
    return {phase: ended(run) for phase, run in placed.items()}


def check_answers(run: Run) -> None:
    """Every call has exactly one answer, and so it is in the history."""
    made = list(run.tool_calls.all())
    assert [call for call in made if call.status in ToolCall.UNANSWERED] == []
    told = Counter(Message.objects.filter(run=run, role="tool").values_list("tool_call_id", flat=True))
    assert told == Counter(call.call_id for call in made)


def last_word(run: Run) -> str:
    return run.messages.latest("position").content


def told(run: Run, thing: str) -> str:
    """What the model was told of the call that asked for this."""
    return next(call.result for call in run.tool_calls.all() if call.arguments == {"thing": thing})


@pytest.mark.parametrize(
    "kill",
    [
        kill_horses_and_a_worker,
        pytest.param(kill_all_workers, marks=pytest.mark.long),
        pytest.param(kill_all_and_start_again, marks=pytest.mark.long),
    ],
)
def test_a_tool_does_its_work_once_whenever_its_worker_is_killed(
    stage: Stages, bob: User, kill: Callable[[Stage, dict[str, Run]], None]
) -> None:
    on = stage(PROCESSES)
    placed = put_in_place(on, bob)
    kill(on, placed)
    after = go_on(on, placed, bob)
    assert {phase: run.status for phase, run in after.items()} == dict.fromkeys(placed, "completed")
    assert {phase: last_word(run) for phase, run in after.items()} == dict.fromkeys(placed, "the end")
    assert on.tool.counted == Counter([*placed, "stall-before", "stall-after"])
    again = {"silent": [2, 1], "streaming": [2, 1], "second": [1, 2]}  # those that were under way
    assert {phase: on.asked(phase) for phase in placed} == {phase: again.get(phase, [1, 1]) for phase in placed}
    for run in after.values():
        check_answers(run)
        assert ends_in_stream(run) == ["completed"]
    interrupted = {"before": "stall-before", "calling": "calling", "after": "stall-after"}
    assert {told(after[phase], thing) for phase, thing in interrupted.items()} == {f"Error: {INTERRUPTED}"}
    assert {told(after[phase], phase) for phase in after if phase != "calling"} == {
        *(json.dumps({"done": phase}) for phase in after if phase != "calling")
    }


def test_with_the_crash_policy_retry_a_turn_is_said_again_and_its_tools_are_not_called_again(stage: Stages) -> None:
    on = stage(1, TURN_CRASH_POLICY="retry")
    on.model.plots["again"] = [[calls(("count", "again"))], [HALF, says("the end")]]
    run = on.start("again")
    until(lambda: "half" in events.text_of(run.conversation_id, run.pk))
    (horse,) = on.workers.named(f"rqworker: horse {Run.objects.get(pk=run.pk).job_id}")
    os.kill(horse, signal.SIGKILL)
    run = ended(run)
    assert (run.status, run.attempt, run.turn_count) == ("completed", 2, 2)
    assert on.tool.counted == Counter(["again"])
    assert on.asked("again") == [1, 2]
    check_answers(run)
    assert [m.content for m in run.messages.exclude(role="tool").order_by("position")] == ["let me see", "the end"]
    assert ends_in_stream(run) == ["completed"]
    published = events.published(run.conversation_id)
    (again,) = [data for name, data in published if name == "attempt_started"]
    assert again["discard_from"] == len("let me see")
    names = [name for name, _ in published]
    assert (names.count("tool_executing"), names.count("tool_completed")) == (1, 1)


@pytest.mark.long
def test_a_horse_killed_at_any_moment_makes_no_call_twice(stage: Stages) -> None:
    on, chance = stage(2, TURN_CRASH_POLICY="retry"), random.Random(4)
    for number in range(60):
        plot, things = f"any {number}", [f"{number}-first", f"{number}-second"]
        on.model.plots[plot] = [[calls(("count", thing), pause_seconds=0.01)] for thing in things] + [END]
        run = on.start(plot)
        time.sleep(chance.uniform(0.0, 0.4))
        for horse in on.workers.named(f"rqworker: horse {Run.objects.get(pk=run.pk).job_id}"):
            os.kill(horse, signal.SIGKILL)
        run = ended(run)
        assert (run.status, last_word(run), ends_in_stream(run)) == ("completed", "the end", ["completed"])
        check_answers(run)
        interrupted = {thing for thing in things if told(run, thing) == f"Error: {INTERRUPTED}"}
        assert all(on.tool.counted[thing] <= 1 for thing in things)
        assert {thing for thing in things if not on.tool.counted[thing]} <= interrupted
        assert sum(on.asked(plot)) <= len(on.asked(plot)) + 1


@pytest.mark.long
def test_f01_a_tool_that_takes_longer_than_a_lease_is_called_once(stage: Stages) -> None:
    on = stage(2)
    on.tool.seconds = settings.LEASE_SECONDS + 8.0
    on.model.plots["slow"] = [[calls(("count", "slow"))], END]
    run = ended(on.start("slow"))
    assert (run.status, run.attempt, told(run, "slow")) == ("completed", 1, json.dumps({"done": "slow"}))
    assert (on.tool.counted, on.asked("slow")) == (Counter(["slow"]), [1, 1])


@pytest.mark.long
def test_f01_a_worker_that_comes_back_after_its_tool_was_given_up_is_too_late(stage: Stages) -> None:
    on = stage(2)
    on.tool.seconds = 1.0
    on.model.plots["late"] = [[calls(("count", "late"))], END]
    run = on.start("late")
    until(lambda: on.tool.counted["late"] == 1)
    job_id = str(Run.objects.get(pk=run.pk).job_id)
    (horse,) = on.workers.named(f"rqworker: horse {job_id}")
    os.kill(horse, signal.SIGSTOP)
    run = ended(run)
    os.kill(horse, signal.SIGCONT)
    until(lambda: job_id not in command_line(horse))
    assert (run.status, told(run, "late")) == ("completed", f"Error: {INTERRUPTED}")
    assert (on.tool.counted, on.asked("late")) == (Counter(["late"]), [1, 1])
    check_answers(run)
    assert ends_in_stream(run) == ["completed"]
    assert events.names(run.conversation_id)[-1] == "completed"
