"""Answering, from the console, what a run waits for. Each answer leaves a row in the audit."""

import json
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest

from conversations import answers
from conversations.answers import Result
from conversations.console.talking import SEND, Done, act, typed
from conversations.models import Conversation, Run
from maintenance.console.operators import operator
from maintenance.console.typed_json import StorableJSON
from maintenance.errors import Invalid

OUTCOMES = {
    "ok": "The result was taken.",
    "failed": "The model is told that the tool failed.",
    "refused": "The call was refused; the run has ended.",
}
DECISIONS = {"approve": "The call was approved.", "deny": "The call was denied; the model is told so."}


def answer(request: HttpRequest, conversation: Conversation) -> Done:
    """In a client's place: `call_id`, `outcome` (ok, failed, refused) and `output`."""
    given = Result(
        call_id=request.POST.get("call_id", ""),
        outcome=request.POST.get("outcome", ""),
        text=typed(request, "output"),
    )
    who = operator(request)
    detail = {"call_id": given.call_id[:128], "outcome": given.outcome[:16]}
    return act(request, "call.answer", conversation, SEND, lambda: _answer(conversation, given, who), **detail)


def decide(request: HttpRequest, run: Run) -> Done:
    """`call_id`, `decision` (approve, deny), `arguments` as JSON where they are to be others, and `reason`."""
    decision = request.POST.get("decision", "")
    verb = f"call.{decision}" if decision in DECISIONS else "call.decide"
    call_id = request.POST.get("call_id", "")[:128]
    return act(request, verb, run.conversation, SEND, lambda: _decide(request, run, decision), call_id=call_id)


def _answer(conversation: Conversation, given: Result, who: User) -> Done:
    if given.outcome not in OUTCOMES:
        raise Invalid(f"An outcome is one of {', '.join(OUTCOMES)}.")
    run = answers.submit(conversation, [given], by=f"user:{who.pk}")
    return Done(True, OUTCOMES[given.outcome], more={"run_status": run.status})


def _decide(request: HttpRequest, run: Run, decision: str) -> Done:
    call_id, who = request.POST.get("call_id", ""), operator(request)
    if decision == "approve":
        run = answers.approve(run, call_id, by=who, arguments=_arguments(typed(request, "arguments")))
    elif decision == "deny":
        run = answers.deny(run, call_id, by=who, reason=typed(request, "reason"))
    else:
        raise Invalid(f"A decision is one of {', '.join(DECISIONS)}.")
    return Done(True, DECISIONS[decision], more={"run_status": run.status})


def _arguments(text: str) -> dict[str, Any] | None:
    """None where the field was left empty: as the model wants them. Raises Invalid."""
    if not text.strip():
        return None
    try:
        arguments = json.loads(text, cls=StorableJSON)
    except ValueError as error:
        raise Invalid(f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(arguments, dict):
        raise Invalid("The arguments must be a JSON object.")
    return arguments
