"""A run that a test leads through its life by hand, with what its writer would store and publish."""

from typing import Any

from django.utils import timezone

from conversations import stream, transitions
from conversations.models import Conversation, Message, Run, ToolCall
from maintenance import streams

Status = Run.Status


class Writer:
    """Publishes and stores one run of a conversation. What is not asked for is not done."""

    def __init__(self, conversation: Conversation, **columns: Any) -> None:
        position = transitions.next_position(conversation.pk)
        question = Message.objects.create(conversation=conversation, position=position, role="user", content="Hi.")
        now = timezone.now()
        self.run = Run.objects.create(
            conversation=conversation,
            user_message=question,
            **{"status": Status.RUNNING, "attempt": 1, "turn_count": 1, "started_at": now, **columns},
        )
        self.seq = 0
        self.sent = {"content": 0, "thinking": 0}

    def publish(self, name: str, **data: Any) -> str:
        """Returns the entry's id."""
        self.seq += 1
        return streams.append(
            stream.key(self.run.conversation_id),
            [(name, {**data, **stream.envelope(self.run, self.run.turn_count, self.seq)})],
        )[0]

    def say(self, chunk: str, kind: str = "content") -> str:
        offset = self.sent[kind]
        self.sent[kind] += len(chunk)
        return self.publish("text_chunk", chunk=chunk, type=kind, offset=offset)

    def store(self, content: str, **columns: Any) -> Message:
        """The reply as the database has it."""
        message, _ = Message.objects.update_or_create(
            conversation=self.run.conversation,
            run=self.run,
            role="assistant",
            defaults={"content": content, "position": transitions.next_position(self.run.conversation_id), **columns},
        )
        Run.objects.filter(pk=self.run.pk).update(last_seq=self.seq, first_token_at=timezone.now())
        return message

    def end(self, status: str = "completed", **columns: Any) -> None:
        """The run ends in the database; nothing is published."""
        self.seq += 1
        changes = {"status": status, "finished_at": timezone.now(), "last_seq": self.seq, **columns}
        Run.objects.filter(pk=self.run.pk).update(**changes)
        self.run.refresh_from_db()

    def announce_end(self) -> None:
        stream.announce_end(self.run)

    def ask(self, message: Message, call_id: str = "c1") -> str:
        """The run waits for the client to look at something."""
        ToolCall.objects.create(message=message, run=self.run, call_id=call_id, name="look", kind="client")
        Run.objects.filter(pk=self.run.pk).update(status=Status.WAITING_FOR_TOOL)
        call = {"call_id": call_id, "name": "look", "arguments": {}}
        return self.publish("tool_request", status="waiting_for_tool", tool_request=call, tool_requests=[call])

    def answer(self) -> None:
        ToolCall.objects.filter(run=self.run).update(status="succeeded", result="seen")
        Run.objects.filter(pk=self.run.pk).update(status=Status.RUNNING)
