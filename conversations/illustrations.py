"""Which pictures of a history its model gets to see. Of one that it does not, the message says so in its text."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from django.conf import settings

from conversations import picture_files
from conversations.models import Message, Run
from models_registry.backends.base import ChatMessage, Image
from models_registry.errors import BadRequest

LOST = "[image lost]"
LEFT_OUT = "images_left_out"  # codes of a run's warnings
ARE_LOST = "images_lost"


@dataclass(frozen=True)
class Illustrated:
    """Messages with the bytes of their pictures, and how many of those were not to be found."""

    messages: Sequence[ChatMessage]
    lost: int


def left_out(run: Run, messages: Sequence[Message], *, sees: bool) -> dict[str, str]:
    """By position, why the pictures of a message are not sent; all of one message go together, the newest first.

    One query, where there are any. `sees`: the model is not known to take none.
    """
    pictured = [message for message in messages if message.images]
    if not pictured:
        return {}
    model = run.snapshot.model
    if not sees:
        return {str(message.position): f"{model} takes none" for message in pictured}
    if _refused(run, pictured[0].position or 0):
        return {str(message.position): f"{model} has refused a request with images" for message in pictured}
    return _beyond(pictured)


def _refused(run: Run, position: int) -> bool:
    """Whether this model has refused what was asked of it since the first picture came: it would do so for ever."""
    failed = Run.objects.filter(conversation=run.conversation_id, error_code=BadRequest.code, status=Run.Status.FAILED)
    taken = run.snapshot
    same = failed.filter(snapshot__backend=taken.backend, snapshot__model=taken.model)
    return same.filter(user_message__position__gte=position).exists()


def _beyond(pictured: Sequence[Message]) -> dict[str, str]:
    room = settings.IMAGES_MAX_BYTES
    found: dict[str, str] = {}
    for message in reversed(pictured):
        room -= sum(row["size_bytes"] for row in message.images)
        if room < 0:
            found[str(message.position)] = "newer ones leave no room for it"
    return found


def outlined(message: Message, reason: str = "") -> tuple[str, list[Image]]:
    """Text and pictures of a message; the pictures are still without their bytes. With a reason there are none."""
    if reason:
        return marked(message.content, [f"[an image was left out: {reason}]"] * len(message.images)), []
    return message.content, [Image(media_type=row["media_type"], data_base64="") for row in message.images]


def loaded(messages: Sequence[Message], values: Sequence[ChatMessage]) -> Illustrated:
    """The values of these messages with their pictures' bytes: read last, when it is known what is sent at all."""
    made = [_loaded(message, value) if value.images else value for message, value in zip(messages, values, strict=True)]
    wanted, found = (sum(len(value.images) for value in each) for each in (values, made))
    return Illustrated(made, wanted - found)


def _loaded(message: Message, value: ChatMessage) -> ChatMessage:
    found = [picture_files.image(row) for row in message.images]
    content = marked(value.content, [LOST] * found.count(None))
    return replace(value, content=content, images=[image for image in found if image is not None])


def marked(content: str, marks: Sequence[str]) -> str:
    return "\n".join([*([content] if content else []), *marks])


def warnings(run: Run, reasons: Mapping[str, str], lost: int) -> list[dict[str, object]]:
    """For the run, once of each kind: `[{code, message, turn}]`."""
    told = {warning["code"] for warning in run.warnings}
    found = {LEFT_OUT: _said(sorted(set(reasons.values()))), ARE_LOST: _lost(lost)}
    return [
        {"code": code, "message": text, "turn": run.turn_count}
        for code, text in found.items()
        if text and code not in told
    ]


def _said(reasons: Collection[str]) -> str:
    return f"Images were left out: {'; '.join(reasons)}." if reasons else ""


def _lost(number: int) -> str:
    return f"Files of images are lost: {number}. The model is told so." if number else ""
