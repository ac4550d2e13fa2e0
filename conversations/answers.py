"""Answering what a run waits for: the client's tool results, and approvals.

Each is accepted once, for a call that is asked for. The same answer again changes nothing and is no error, for a client
that lost the reply will send it again; another answer is refused, and so is one that nobody waits for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from conversations import calls, jobs, status, stream, toolbox, transitions, waits
from conversations.models import Conversation, Run, ToolCall
from maintenance.commits import after_commit
from maintenance.errors import Invalid, Refusal
from maintenance.tables import Queue
from models_registry.backends.texts import clean

Status = ToolCall.Status
Approval = ToolCall.Approval
WaitingFor = Run.WaitingFor
# What old clients send for a tool that their user did not allow.
REFUSED_BY_USER = "[User refused tool execution]"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A client's answer to one call. `outcome` is ok, failed or refused."""

    call_id: str
    outcome: str
    text: str

    @property
    def status(self) -> Status:
        return {"ok": Status.SUCCEEDED, "refused": Status.REFUSED}.get(self.outcome, Status.FAILED)

    @property
    def content(self) -> str:
        """What the model reads."""
        text = clean(self.text)
        return text if self.outcome == "ok" else f"Error: {text or 'the tool failed.'}"


@transaction.atomic
def submit(conversation: Conversation, results: Sequence[Result], *, by: str = "client") -> Run:
    """Take these results, all of them or none, and let the run go on when the last is in. The run as it is then.

    `by` is the client, or `user:7` where an operator answers in its place.
    A refused one ends the run, completed, without asking the model again. Raises Refusal 409, with the ids that are
    still wanted: `unknown_call`, `already_answered`, `not_waiting`; Invalid for a result that is too long.
    """
    _check(results)
    transitions.lock(conversation.pk)
    run, found = _calls_of(conversation, results)
    fresh = [(call, result) for call, result in zip(found, results, strict=True) if _is_fresh(call, result, run)]
    for call, result in fresh:
        calls.answer(call, result.status, result.content, by=by)
    if fresh:
        _tell(run, [call for call, _ in fresh])
        _go_on(run, refused=any(call.status == Status.REFUSED for call, _ in fresh))
    return run


def _check(results: Sequence[Result]) -> None:
    if not results:
        raise Invalid("There is no result.", errors={"call_id": ["This field is required."]})
    ids = [result.call_id for result in results]
    if len(set(ids)) < len(ids):
        raise Invalid("Two results are for one call.", errors={"call_id": ["Each call has one result."]})
    if any(len(result.text.encode(errors="replace")) > settings.TOOL_RESULT_MAX_BYTES for result in results):
        limit = f"A result has at most {settings.TOOL_RESULT_MAX_BYTES} bytes."
        raise Invalid(limit, code="too_large", status_code=413, errors={"output": [limit]})


def _calls_of(conversation: Conversation, results: Sequence[Result]) -> tuple[Run, list[ToolCall]]:
    """The call of each result, all of one run."""
    ids = [result.call_id for result in results]
    rows = ToolCall.objects.filter(run__conversation=conversation, call_id__in=ids).select_related("message")
    by_id = {call.call_id: call for call in rows}
    for call_id in ids:
        if call_id not in by_id:
            raise _refusal(conversation, f"There is no tool call {call_id!r} in this conversation.", "unknown_call")
    found = [by_id[call_id] for call_id in ids]
    if len({call.run_id for call in found}) > 1:
        raise _refusal(conversation, "The calls belong to different runs.", "unknown_call")
    return Run.objects.get(tool_calls=found[0]), found


def _is_fresh(call: ToolCall, result: Result, run: Run) -> bool:
    """False where this very answer is there already. Raises Refusal where it cannot be taken."""
    if call.status not in ToolCall.UNANSWERED:
        if (call.status, call.result) == (result.status, calls.fit(result.content)):
            return False
        raise _refusal(run.conversation, f"The call {call.call_id} has an answer: {call.status}.", "already_answered")
    waits_for_it = run.status == Run.Status.WAITING_FOR_TOOL and run.waiting_for == WaitingFor.TOOL_RESULT
    if not waits_for_it or call.kind != ToolCall.Kind.CLIENT:
        state = "waits for an approval" if run.waiting_for == WaitingFor.APPROVAL else f"is {run.get_status_display()}"
        said = f"Nobody waits for a result of {call.call_id} now: the run {state}."
        raise _refusal(run.conversation, said, "not_waiting")
    return True


def _refusal(conversation: Conversation, message: str, code: str) -> Refusal:
    """With the calls that a client is to answer; what waits for an approval is told apart, for no client may run it."""
    run = status.current_run(conversation)
    ids = [call.call_id for call in wanted(run)] if run else []
    extra: dict[str, Any] = {"status": status.wire(run), "pending": ids}
    if run and run.waiting_for == WaitingFor.APPROVAL:
        extra |= {"pending": [], "approvals": ids}
    return Refusal(message, code=code, extra=extra)


def wanted(run: Run) -> list[ToolCall]:
    """The calls that a waiting run wants answered now, in order."""
    return list(status.wanted_calls(run))


def _tell(run: Run, answered: Sequence[ToolCall]) -> None:
    """What was answered elsewhere is news for everybody who watches."""
    _announce(run, [("tool_completed", status.completed_call(call)) for call in answered])


def _announce(run: Run, news: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    events: list[tuple[str, Mapping[str, Any]]] = []
    for name, data in news:
        run.last_seq += 1
        events.append((name, {**data, **stream.envelope_of(run)}))
    Run.objects.filter(pk=run.pk).update(last_seq=run.last_seq)
    after_commit(stream.tell, run.conversation_id, events)


def _go_on(run: Run, *, refused: bool) -> None:
    if refused:
        promoted = transitions.end(run, Run.Status.COMPLETED, origin=(Run.Status.WAITING_FOR_TOOL,))
        if promoted:
            jobs.enqueue(promoted)
    elif waits.resume(run):
        # Before everything that waits: a conversation under way is not overtaken.
        jobs.enqueue(run, Queue.HIGH)


@transaction.atomic
def approve(run: Run, call_id: str, *, by: User, arguments: Mapping[str, Any] | None = None) -> Run:
    """Allow a call that waits for approval, with other arguments if given, and let the run go on after the last.

    Raises Refusal 409 `unknown_call`, `already_answered` (also where it was approved with other arguments),
    `not_waiting`; Invalid where the arguments do not fit.
    """
    run, call = _to_decide(run, call_id, Approval.APPROVED)
    if call.approval == Approval.APPROVED:
        if arguments is not None and arguments != call.arguments:
            said = f"The call {call_id} was approved with other arguments."
            raise _refusal(run.conversation, said, "already_answered")
        return run
    tool = toolbox.of_snapshot(run.snapshot)[call.name]
    if arguments is not None and (fault := tool.fault(arguments)):
        raise Invalid(f"The arguments do not fit the tool's schema: {fault}", errors={"arguments": [fault]})
    if arguments is not None and arguments != call.arguments:
        call.asked_arguments, call.arguments = call.arguments, dict(arguments)
    call.approval, call.decided_by = Approval.APPROVED, f"user:{by.pk}"
    call.save(update_fields=["approval", "arguments", "asked_arguments", "decided_by"])
    if tool.approval == "once":
        _remember(run, call)
    _go_on(run, refused=False)
    if run.status == Run.Status.WAITING_FOR_TOOL:  # others are still to be approved, and this one no more
        _announce(run, [status.waiting_event(run, status.requests(wanted(run)))])
    return run


def _remember(run: Run, call: ToolCall) -> None:
    """Approved once for the conversation: what else waits for the same is approved too."""
    conversation = run.conversation
    conversation.approved_tools = sorted({*conversation.approved_tools, call.name})
    conversation.save(update_fields=["approved_tools"])
    same = ToolCall.objects.filter(run=run, name=call.name, status=Status.PENDING, approval=Approval.WANTED)
    same.update(approval=Approval.APPROVED, decided_by=call.decided_by)


@transaction.atomic
def deny(run: Run, call_id: str, *, by: User, reason: str = "") -> Run:
    """Forbid a call that waits for approval: the model is told, with the reason, and the run goes on after the last.

    Raises Refusal as `approve` does.
    """
    run, call = _to_decide(run, call_id, Approval.DENIED)
    if call.approval == Approval.DENIED:
        return run
    call.approval, call.decided_by = Approval.DENIED, f"user:{by.pk}"
    call.save(update_fields=["approval", "decided_by"])
    text = f"the user did not allow this call. {clean(reason)}".strip()
    calls.fail(call, text, Status.REFUSED, by=call.decided_by)
    _tell(run, [call])
    _go_on(run, refused=False)
    return run


def _to_decide(run: Run, call_id: str, decision: str) -> tuple[Run, ToolCall]:
    """The run as it is now, and its call, which is decided already where the same was decided before."""
    transitions.lock(run.conversation_id)
    run = Run.objects.select_related("conversation", "snapshot").get(pk=run.pk)
    call = ToolCall.objects.select_related("message").filter(run=run, call_id=call_id).first()
    if call is None:
        raise _refusal(run.conversation, f"There is no tool call {call_id!r} in this run.", "unknown_call")
    if call.approval == decision:
        return run, call
    if call.approval != Approval.WANTED:
        said = f"The call {call_id} wants no approval: {call.get_approval_display()}."
        raise _refusal(run.conversation, said, "already_answered")
    if run.status != Run.Status.WAITING_FOR_TOOL or call.status != Status.PENDING:
        said = f"Nobody waits for an approval of {call_id} now: the run is {run.get_status_display()}."
        raise _refusal(run.conversation, said, "not_waiting")
    return run, call
