"""What a model is asked: made to fit its window, and noted down so exactly that it can be made again.

The note is `Message.request` of the answer:

    model        which one was asked
    sent         the positions of the messages that were sent, as ranges: [[1, 7], [9, 12]]
    shortened    of tools' answers that were cut: {position: bytes that were sent}
    without      of messages whose images were left out: {position: why}
    images       how many images were sent
    trimmed      how many older messages were left out
    estimated    tokens of the request by our rule of thumb
    scale        what the estimate was multiplied with, learnt from earlier answers
    counted      tokens by the backend's count; null where it did not count
    suspect      true where the backend counted so few that it must have left something out
    sha256       of the canonical form of the request, which leaves out nothing but its time limits; an image stands
                 there with the sha256 of its bytes
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conversations import context, history, illustrations, toolbox
from conversations.models import Message, Snapshot
from models_registry.backends.base import ChatMessage, ChatRequest, Image, ModelConfig, Timeouts, ToolSchema, Usage
from models_registry.backends.tokens import TOKENS_PER_IMAGE

# How many of the newest answers say how our estimate differs from the backend's count.
LEARNT_FROM = 3
# A backend that counts less than this part of what we expect, and so many tokens less, has not read all of it.
SUSPECT_PART = 0.5
SUSPECT_TOKENS = 500


@dataclass(frozen=True)
class Asked:
    """A request, and what is noted of it. `lost`: how many images were to be sent and had no file any more."""

    request: ChatRequest
    note: Mapping[str, Any]
    lost: int = 0

    @property
    def trimmed(self) -> int:
        return int(self.note["trimmed"])

    @property
    def shortened(self) -> int:
        return len(self.note["shortened"])

    @property
    def expected(self) -> int:
        """Tokens that the backend should count."""
        tokens: float = self.note["estimated"] * self.note["scale"]
        return round(tokens)

    def is_suspect(self, usage: Usage) -> bool:
        """Whether the backend's count says that it has not read all that was sent."""
        # What an image counts differs tenfold between providers: only the text can be missed.
        text = self.expected - round(TOKENS_PER_IMAGE * self.note["images"] * self.note["scale"])
        missing = text - usage.prompt
        few = usage.prompt < SUSPECT_PART * text
        return not usage.estimated and few and missing > SUSPECT_TOKENS

    def note_with(self, usage: Usage) -> dict[str, Any]:
        counted = {"counted": None if usage.estimated else usage.prompt}
        return {**self.note, **counted, **({"suspect": True} if self.is_suspect(usage) else {})}


def ask(
    taken: Snapshot, messages: Sequence[Message], timeouts: Timeouts, without: Mapping[str, str] | None = None
) -> Asked:
    """What to ask the backend, given these messages. Raises ContextTooSmall.

    `without` says, by position, why the images of a message are left out.
    """
    told = history.told(messages)
    config = config_of(taken)
    scale = _scale(told, config.model)
    chosen = context.choose(
        history.as_values(told, without),
        system_prompt=taken.system_prompt,
        tools=_tools(taken),
        config=config,
        scale=scale,
    )
    sent = told[chosen.trimmed :]
    illustrated = illustrations.loaded(sent, chosen.messages)
    request = _request(taken, illustrated.messages, timeouts)
    reasons = {str(message.position): (without or {}).get(str(message.position), "") for message in sent}
    note = {
        "model": config.model,
        "sent": _ranges(message.position or 0 for message in sent),
        "shortened": {str(told[place].position): kept for place, kept in chosen.shortened.items()},
        "without": {position: reason for position, reason in reasons.items() if reason},
        "images": sum(len(message.images) for message in illustrated.messages),
        "trimmed": chosen.trimmed,
        "estimated": context.size(request),
        "scale": round(scale, 4),
        "sha256": digest(request),
    }
    return Asked(request, note, illustrated.lost)


def again(taken: Snapshot, note: Mapping[str, Any], messages: Sequence[Message], timeouts: Timeouts) -> ChatRequest:
    """The request that this was noted of, from the messages at the positions that were sent."""
    told = history.told(messages)
    shortened = {
        place: note["shortened"][str(message.position)]
        for place, message in enumerate(told)
        if str(message.position) in note["shortened"]
    }
    values = context.shorten(history.as_values(told, note.get("without")), shortened)
    return _request(taken, illustrations.loaded(told, values).messages, timeouts)


def _request(taken: Snapshot, messages: Sequence[ChatMessage], timeouts: Timeouts) -> ChatRequest:
    system = [ChatMessage(role="system", content=taken.system_prompt)] if taken.system_prompt else []
    return ChatRequest(messages=[*system, *messages], config=config_of(taken), timeouts=timeouts, tools=_tools(taken))


def _tools(taken: Snapshot) -> list[ToolSchema]:
    return [tool.schema for tool in toolbox.of_snapshot(taken).values()]


def config_of(taken: Snapshot) -> ModelConfig:
    """The configuration as it was when the run began, whatever has been changed since."""
    return ModelConfig(**{**taken.config, "stop_sequences": tuple(taken.config.get("stop_sequences") or ())})


def _scale(messages: Sequence[Message], model: str) -> float:
    """Learnt from the newest answers of the same model. One that is suspect teaches nothing, nor do images of text."""
    notes = [message.request for message in messages if message.request.get("counted")]
    same = [note for note in notes if note.get("model") == model and not (note.get("suspect") or note.get("images"))]
    return context.scale((note["estimated"], note["counted"]) for note in same[-LEARNT_FROM:])


def _ranges(positions: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for position in positions:
        if ranges and ranges[-1][1] == position - 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    return ranges


def canonical(request: ChatRequest) -> dict[str, Any]:
    """The request as JSON values. Its time limits are left out: they depend on when it is made."""
    values: dict[str, Any] = json.loads(_text(request))
    return values


def digest(request: ChatRequest) -> str:
    return hashlib.sha256(_text(request).encode()).hexdigest()


def _text(request: ChatRequest) -> str:
    values = {name: value for name, value in vars(request).items() if name != "timeouts"}
    return json.dumps(values, default=_plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Image):
        data = base64.b64decode(value.data_base64)
        return {"media_type": value.media_type, "sha256": hashlib.sha256(data).hexdigest()}
    return vars(value)
