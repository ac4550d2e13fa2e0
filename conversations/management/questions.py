"""What an agent asks of whoever sits at the terminal: results of its client's tools, and leave to call others."""

import json
from collections.abc import Callable, Sequence

from django.contrib.auth.models import User

from conversations import answers
from conversations.answers import REFUSED_BY_USER, Result
from conversations.models import Run, ToolCall
from maintenance.errors import Refusal

NOBODY = "Nobody was there to allow it."


class Questions:
    """Asks by `ask`, which is given a prompt and answers with a line; None where nobody is there: then it refuses.

    `refused` is true once something was refused because nobody was there.
    """

    def __init__(self, by: User, ask: Callable[[str], str] | None, tell: Callable[[str], object]) -> None:
        self.refused = False
        self._by = by
        self._ask = ask
        self._tell = tell

    def put(self, run: Run) -> None:
        """Have answered what the run waits for now; where somebody else was faster there is nothing to do."""
        run.refresh_from_db()
        try:
            if run.waiting_for == Run.WaitingFor.APPROVAL:
                self._approvals(run)
            elif wanted := answers.wanted(run):
                answers.submit(run.conversation, self._results(wanted))
        except Refusal as refusal:
            self._tell(refusal.message)

    def _results(self, calls: Sequence[ToolCall]) -> list[Result]:
        """A refusal ends the run, so nothing is asked after one."""
        results: list[Result] = []
        for call in calls:
            self._tell(f"The agent asks its client for {_told(call)}")
            text = self._line("Its result, in one line; nothing refuses it: ")
            if not text:
                self._note_refusal("The call is refused, which ends the answer.")
                return [*results, Result(call_id=call.call_id, outcome="refused", text=REFUSED_BY_USER)]
            results.append(Result(call_id=call.call_id, outcome="ok", text=text))
        return results

    def _approvals(self, run: Run) -> None:
        while run.waiting_for == Run.WaitingFor.APPROVAL and (wanted := answers.wanted(run)):
            call = wanted[0]
            self._tell(f"The agent asks whether it may call {_told(call)}")
            if self._line("Allow it? [y/N] ").lower() in ("y", "yes"):
                run = answers.approve(run, call.call_id, by=self._by)
            else:
                self._note_refusal("The call is not allowed, and the agent is told so.")
                run = answers.deny(run, call.call_id, by=self._by, reason="" if self._ask else NOBODY)

    def _line(self, prompt: str) -> str:
        return self._ask(prompt).strip() if self._ask else ""

    def _note_refusal(self, consequence: str) -> None:
        if self._ask is None:
            self.refused = True
            self._tell(f"Nobody is at this terminal to answer. {consequence}")


def _told(call: ToolCall) -> str:
    """The call as one line that does not control the terminal."""
    text = f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
