import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone
from redis.exceptions import RedisError

from conversations import pictures, resumption, runs
from conversations.frames import CONTENT, TERMINAL, Frame
from conversations.listening import listen
from conversations.management.interrupts import Interrupts
from conversations.management.questions import Questions
from conversations.management.transcript import Transcript
from conversations.models import Agent, Conversation, Run
from conversations.pictures import Picture
from maintenance import roster
from maintenance.output import USAGE, OperatorCommand, redis_name
from maintenance.tables import Queue

REMEDY = "Start the server with `make run`."
# A run that waits longer for a worker than this is worth a word.
PATIENCE_SECONDS = 10.0
INTERRUPTED = 130
TOLD = ("reason", "error", "error_code", "stats", "usage")
EXIT_CODES = {"completed": 0, "failed": 1, "cancelled": INTERRUPTED}


class Command(OperatorCommand):
    """Uses the domain's verbs and reads the event stream itself: that needs neither a token nor the web process, and
    is the same code that serves clients."""

    help = (
        "Talk to an agent in the terminal. Ctrl-C stops the answer and keeps what was said. You are asked for what the "
        "agent wants of its client, and whether it may call what needs an approval."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("agent", metavar="AGENT", help="its slug, id or name")
        parser.add_argument("message", metavar="MESSAGE", nargs="?", help="without it, you are asked again and again")
        parser.add_argument(
            "--image", metavar="PATH", action="append", default=[], type=Path, help="goes with MESSAGE; may be repeated"
        )
        parser.add_argument("--user", metavar="NAME", help="whose conversation it is; default: the first admin")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        if options["json"] and not options["message"]:
            raise CommandError("--json needs a MESSAGE.", returncode=USAGE)
        if options["image"] and options["message"] is None:
            raise CommandError("--image needs a MESSAGE, which may be empty.", returncode=USAGE)
        images = _images(options["image"])
        agent, user = _agent(options["agent"]), _user(options["user"])
        _require_workers()
        conversation = Conversation.objects.create(
            user=user, agent=agent, client_type="terminal", last_activity_at=timezone.now()
        )
        try:
            if options["message"] or images:
                return self._answer(conversation, options["message"], options, images)
            return self._converse(conversation, options)
        except KeyboardInterrupt:
            return INTERRUPTED

    def _converse(self, conversation: Conversation, options: dict[str, Any]) -> int:
        at_terminal = sys.stdin.isatty()
        if at_terminal:
            self.note(f"You talk to {conversation.agent.name}. Ctrl-C stops an answer, Ctrl-D ends.")
        while True:
            line = self._ask("> ") if at_terminal else sys.stdin.readline()
            if not line:
                return 0
            if line.strip():
                self._answer(conversation, line.strip(), options)

    def _answer(
        self, conversation: Conversation, message: str, options: dict[str, Any], images: Sequence[Picture] = ()
    ) -> int:
        run = runs.start(conversation, message, images=images)
        dims = self.stdout.isatty() and not options["no_color"]
        transcript = Transcript((lambda text: None) if options["json"] else self._write, dims=dims)
        is_attended = sys.stdin.isatty() and not options["json"]
        questions = Questions(conversation.user, self._ask if is_attended else None, self.note)
        frames = listen(conversation)
        while transcript.end is None:
            with Interrupts() as interrupts:
                is_over = self._follow(run, frames, transcript, interrupts)
            if transcript.end is None:
                transcript.pause()
                self._put(questions, run)
                frames = listen(conversation) if is_over else frames
        code = self._conclude(run, transcript.end, transcript.text, options)
        return code or int(questions.refused)

    def _put(self, questions: Questions, run: Run) -> None:
        if not Run.objects.filter(pk=run.pk).exists():
            raise CommandError("The conversation was deleted.")
        try:
            questions.put(run)
        except KeyboardInterrupt:
            runs.stop(run)

    def _follow(self, run: Run, frames: Iterator[Frame | None], transcript: Transcript, interrupts: Interrupts) -> bool:
        """Until the answer has ended or something is asked. True where there is nothing more to come of `frames`."""
        began, said, stopped = time.monotonic(), False, False
        for frame in frames:
            if interrupts.wanted and not stopped:
                stopped = True
                runs.stop(run)
            if frame and frame.event == "approval_request":
                return False
            if frame:
                self._take(run, frame, transcript)
            elif not said and not transcript.text and time.monotonic() - began > PATIENCE_SECONDS:
                said = True
                self.note("Still waiting: every worker may be busy, or the model is being loaded.")
        return True

    def _take(self, run: Run, frame: Frame, transcript: Transcript) -> None:
        if frame.event in TERMINAL and (stored := resumption.stored(run.pk)):
            transcript.complete(stored.text[CONTENT])
        transcript.take(frame)

    def _ask(self, prompt: str) -> str:
        """A line from the terminal; nothing where it is at its end."""
        self.stderr.write(prompt, style_func=str, ending="")
        self.stderr.flush()
        return sys.stdin.readline()

    def _conclude(self, run: Run, end: Frame, text: str, options: dict[str, Any]) -> int:
        told = {
            name: end.data[name] for name in ("reason", "error", "error_code", "stats", "usage") if name in end.data
        }
        if options["json"]:
            value = {
                "conversation_id": run.conversation_id,
                "run_id": run.pk,
                "status": end.event,
                "text": text,
                **told,
            }
            self.show(options, value, [])
        elif words := _explanation(end):
            self.note(words)
        return EXIT_CODES[end.event]

    def _write(self, text: str) -> None:
        self.stdout.write(text, ending="")
        self.stdout.flush()


def _explanation(end: Frame) -> str:
    """What to say about an answer that is not a whole one."""
    if end.event == "cancelled":
        return "Stopped."
    if end.event == "failed":
        return f"It failed: {end.data['error']} ({end.data['error_code']})"
    return f"The answer is not whole: {end.data['reason']}." if end.data.get("reason") else ""


def _images(paths: Sequence[Path]) -> list[Picture]:
    """Raises CommandError, Invalid."""
    try:
        pictures.require_room([path.stat().st_size for path in paths])
        return pictures.check([path.read_bytes() for path in paths])
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}.", returncode=USAGE) from error


def _agent(text: str) -> Agent:
    """Raises CommandError where it is not exactly one."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    for way in (Q(slug=text), Q(pk=number), Q(name__iexact=text)):
        found = list(Agent.objects.filter(way)[:2])
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandError(f"Several agents are called {text!r}: say which one by its slug or id.")
    known = ", ".join(Agent.objects.order_by("slug").values_list("slug", flat=True)[:20])
    raise CommandError(f"There is no agent {text!r}. There are: {known or 'none'}.")


def _user(text: str | None) -> User:
    """Raises CommandError where there is none."""
    wanted = Q(username=text) | Q(email__iexact=text) if text else Q(is_superuser=True)
    user = User.objects.filter(wanted, is_active=True).order_by("pk").first()
    if user is None:
        raise CommandError(f"There is no user {text!r}." if text else f"There is no admin yet. {REMEDY}")
    return user


def _require_workers() -> None:
    """Raises CommandError where nothing would answer, before anything is stored."""
    if settings.QUEUE_CONNECTION == "sync":
        return
    try:
        workers = roster.by_queue(roster.alive())
    except RedisError:
        raise CommandError(f"{redis_name()} does not answer. {REMEDY}") from None
    if not workers[Queue.DEFAULT]:
        raise CommandError(f"No worker runs. {REMEDY}")
