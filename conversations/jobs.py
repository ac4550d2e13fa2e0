"""The core job. `process_turn` reads as its documentation does: docs/turn.md follows it line by line."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import transaction

from conversations import crash, history, journal, retries, stops, titles, tools, transitions, turns, waits, warming
from conversations.context import ContextTooSmall
from conversations.models import Agent, Message, Run
from conversations.requests import Asked
from conversations.stream import Publisher
from conversations.transitions import AlreadyMoved
from conversations.warming import ModelNotLoaded
from maintenance import executor
from maintenance.errors import Invalid, Refusal
from maintenance.ledger import Failure, JobError, job
from maintenance.logs import log_context
from maintenance.models import Job, new_job_id
from maintenance.tables import Queue
from models_registry import loading
from models_registry.backends.base import Cancellation, Reply
from models_registry.catalog import Resolved
from models_registry.errors import BackendError, Cancelled, ContextWindowExceeded, StreamEnded

logger = logging.getLogger(__name__)

Status = Run.Status
NOBODY = Run.WaitingFor.NOBODY


def fail_run(failure: Failure, *, run_id: int) -> None:
    """The job failed for good, so the run does: in the same transaction, with the text so far kept."""
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        return  # deleted together with its conversation
    transitions.lock(run.conversation_id)
    if failure.code == "cancelled":
        transitions.move(run, Status.CANCELLING)
    run.refresh_from_db(fields=["status", "last_seq"])
    try:
        if run.status == Status.CANCELLING:
            _start(transitions.end(run, Status.CANCELLED))
        elif failure.code == "cancelled":
            _start(stops.stop(run))
        else:
            _start(transitions.end(run, Status.FAILED, error_code=failure.code, error=failure.message[:500]))
    except AlreadyMoved:
        logger.info("run %s had ended already", run_id)


def recover_run(*, lease_token: str, run_id: int) -> Failure | None:
    """The worker died. None: the turn is taken again, from where the journal says it was."""
    return crash.recover(run_id, lease_token)


def retry_run(*, run_id: int) -> Job | None:
    """An operator retries the job: a new run for the same user message. Raises Refusal where the run is gone."""
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise Refusal("The conversation of this run was deleted.", code="run_deleted")
    return enqueue(retries.again(run))


def cancel_run(*, run_id: int) -> None:
    """An operator cancels the job: the run is stopped as by its user."""
    run = Run.objects.filter(pk=run_id).first()
    if run is not None:
        _start(stops.stop(run))


@job(
    queue=Queue.DEFAULT,
    timeout=timedelta(minutes=5),
    max_attempts=1,
    on_failure=fail_run,
    on_lost=recover_run,
    on_retry=retry_run,
    on_cancel=cancel_run,
)
def process_turn(*, run_id: int) -> None:
    """Take one turn of a run: one model call, and the tool calls it asks for."""
    run = turns.claim(run_id, _lease_token())  # 1. claim; cancelled, or taken by another worker: nothing to do
    if run is None:
        return None
    with _held(run):
        _refuse_inactive(run.conversation.agent)
        resolved = turns.resolve(run)  # 2. backend and normalised configuration
        if run.turn_count > run.max_turns:  # 3. max turns
            return _end(run, Status.INCOMPLETE, reason="max_turns", turn_count=run.max_turns)
        turns.take_steered(run)
        messages = history.of_run(run)
        turns.snapshot(run, resolved, messages)  # 4. the system prompt, 5. the snapshot: on the first turn
        draft, cancellation = turns.draft(run, messages), Cancellation()
        with Publisher(run, draft, cancellation) as publish, _kept(run, draft, publish):
            message = turns.stored_reply(run, messages)
            asks = message is not None and message.tool_calls.exists()
            if message is None:
                _begin(run, publish)
                warming.require(resolved, publish)
                asked = turns.request(run, resolved, draft, messages)
                _announce(run, publish, asked)
                reply = resolved.backend.stream(asked.request, publish.text, cancellation)  # 6. call it, streaming
                message = _record(run, draft, reply, asked, publish)  # 7. store it with its tool calls,
                asks = turns.asks_for_tools(reply)
            waiting = tools.process(run, message, publish, cancellation) if asks else NOBODY  # then make those
        _conclude(run, message, asks, waiting)  # 8. wait, complete, or the next turn
    return None


def enqueue(run: Run, queue: Queue = Queue.DEFAULT, *, awaits: Job | None = None) -> Job:
    """Put the job of a queued run into the ledger, under the id that the run names; to wait for a load, if told so."""
    conversation = run.conversation
    tags = (f"conversation:{conversation.pk}", f"agent:{conversation.agent_id}", f"user:{conversation.user_id}")
    declared = process_turn.on(queue).identified(str(run.job_id)).tagged(*tags)
    if awaits is not None:
        declared = declared.after(loading.LOOK_AGAIN).tagged(*loading.tags(awaits))
    return declared.enqueue(run_id=run.pk)


def _start(promoted: Run | None) -> None:
    if promoted is not None:
        enqueue(promoted)


def _lease_token() -> str:
    execution = executor.current()
    return execution.execution.lease_token if execution else secrets.token_hex(16)


@contextmanager
def _held(run: Run) -> Iterator[None]:
    """Keep the run's lease while the body works, and turn what can go wrong into the run's ending."""
    log_context.set({**log_context.get(), "run": run.pk, "conversation": run.conversation_id})
    execution = executor.current()

    def renewal() -> bool:
        return turns.renew(run)

    if execution:
        execution.heartbeat.also(renewal)
    try:
        yield
    except Cancelled:
        _end(run, Status.CANCELLED)
    except ModelNotLoaded as cold:
        _await_model(run, cold.resolved)
    except (ContextTooSmall, ContextWindowExceeded):
        _end(run, Status.INCOMPLETE, reason="context_window")
    except (BackendError, Invalid) as error:
        raise _for_good(run, error) from error
    finally:
        if execution:
            execution.heartbeat.no_longer(renewal)


def _for_good(run: Run, error: BackendError | Invalid) -> JobError:
    if isinstance(error, BackendError):
        # The rest of what the server said, without our secrets: for whoever looks for the reason, and nobody else.
        logger.warning("run %s: %s: %s", run.pk, error.code, error.detail or error.message)
    return JobError(error.message, code=error.code, permanent=True)


@contextmanager
def _kept(run: Run, draft: journal.Draft, publish: Publisher) -> Iterator[None]:
    """However the body ends, what was said and how many events there were is stored."""
    whole = False
    try:
        yield
        whole = True
    finally:
        publish.close()
        run.last_seq = publish.seq
        if publish.fenced:
            raise _fenced_off(run)
        if publish.broken:
            raise JobError("The answer could not be stored.", code="not_stored", permanent=True)
        if not whole:
            turns.keep_text(run, draft, publish.seq)


def _fenced_off(run: Run) -> JobError:
    if not Run.objects.filter(pk=run.pk).exists():
        return JobError("The conversation was deleted.", code="cancelled", permanent=True)
    return JobError("The lease on the run was lost.", code="lease_lost", permanent=True)


def _refuse_inactive(agent: Agent) -> None:
    if agent.status != Agent.Status.ACTIVE:
        raise JobError(f"The agent “{agent.name}” is inactive.", code="agent_inactive", permanent=True)


def _begin(run: Run, publish: Publisher) -> None:
    if warming.has_waited():
        return
    if run.attempt > 1:
        draft = publish.draft
        publish.event("attempt_started", discard_from=draft.content_before, discard_thinking_from=draft.thinking_before)
    if run.turn_count == 1:
        publish.event("status_changed", status="processing", stats={"turns": 0, "tokens": 0})


def _announce(run: Run, publish: Publisher, asked: Asked) -> None:
    publish.event("turn_started", max_turns=run.max_turns, model=asked.request.config.model)
    if asked.trimmed or asked.shortened:
        run.context_trimmed = asked.trimmed + asked.shortened
        publish.event("context_trimmed", messages=asked.trimmed, shortened=asked.shortened)


def _record(run: Run, draft: journal.Draft, reply: Reply, asked: Asked, publish: Publisher) -> Message:
    if not reply.whole and not reply.content:
        raise StreamEnded("The backend's answer broke off before it said anything.")
    publish.hand_over()
    return turns.record(run, draft, reply, asked)


@transaction.atomic
def _conclude(run: Run, message: Message, asks: bool, waiting: Run.WaitingFor) -> None:
    transitions.lock(run.conversation_id)
    status, reason = turns.conclusion(message)
    if waiting:
        _wait(run, waiting)
    elif asks or (status == Status.COMPLETED and transitions.steered(run)):
        _next_turn(run)
    else:
        _end(run, status, said=message, reason=reason)


def _wait(run: Run, waiting: Run.WaitingFor) -> None:
    token = run.lease_token
    if not waits.begin(run, waiting, held_by=token, **turns.counted(run)):
        run.lease_token = token
        _end(run, Status.CANCELLED)


@transaction.atomic
def _await_model(run: Run, resolved: Resolved) -> None:
    transitions.lock(run.conversation_id)
    token, run.lease_token = run.lease_token, ""
    if warming.begin(run, held_by=token, **turns.counted(run)):
        enqueue(run, Queue.HIGH, awaits=loading.begin(resolved))
    else:
        run.lease_token = token
        _end(run, Status.CANCELLED)


def _next_turn(run: Run) -> None:
    token, run.lease_token = run.lease_token, ""
    changes = {**turns.counted(run), "job_id": new_job_id(), "queued_at": run.queued_at}
    if transitions.move(run, Status.QUEUED, held_by=token, lease_token="", lease_expires_at=None, **changes):
        # Before everything that waits: a conversation under way is not overtaken.
        enqueue(run, Queue.HIGH)
    else:
        run.lease_token = token
        _end(run, Status.CANCELLED)


def _end(run: Run, status: Status, **changes: object) -> None:
    token = run.lease_token
    try:
        with transaction.atomic():
            counted = {**turns.counted(run), "last_seq": run.last_seq + 1, **changes}
            _start(transitions.end(run, status, held_by=token, **counted))
            if status == Status.COMPLETED:
                titles.enqueue_for(run)
    except AlreadyMoved:
        # It was stopped while it was about to end otherwise.
        logger.info("run %s could not become %s", run.pk, status)
        cancel_stopped(run, token)


def cancel_stopped(run: Run, token: str) -> None:
    """Cancel a run that was asked to stop and is still this worker's."""
    try:
        with transaction.atomic():
            _start(transitions.end(run, Status.CANCELLED, held_by=token, origin=(Status.CANCELLING,)))
    except AlreadyMoved:
        logger.warning("run %s is no longer this worker's", run.pk)
