"""How far a reader is in one run, and what its text needs to fit there."""

from dataclasses import dataclass, field

from conversations.frames import CONTENT, THINKING, Frame, Stored
from maintenance.streams import Entry

# Where an `attempt_started` says from where on the text is to be forgotten.
DISCARDS = {CONTENT: "discard_from", THINKING: "discard_thinking_from"}


@dataclass
class Track:
    """How far the reader is in a run. With `seq` 0 any entry but the first is a jump.

    Where it is not known how much text was `sent`, the next chunk is taken at its word.
    """

    run_id: int
    attempt: int | None = None
    seq: int = 0
    sent: dict[str, int | None] = field(default_factory=lambda: {CONTENT: 0, THINKING: 0})
    heard: bool = False  # something of it was told, so after a jump there may be something to take back

    def stands_at(self, entry: Entry) -> None:
        """The entry is the last one that was told."""
        self.attempt, self.seq = entry.data["attempt"], entry.data["seq"]
        if entry.event == "text_chunk":
            self.sent[entry.data["type"]] = entry.data["offset"] + len(entry.data["chunk"])

    def is_next(self, entry: Entry) -> bool:
        if self.attempt is not None and entry.data["attempt"] > self.attempt:
            # It continues from the number that was stored last, which may be a lower one.
            return entry.data["seq"] <= self.seq + 1 and self._is_clean_restart(entry)
        return bool(entry.data["seq"] == self.seq + 1)

    def _is_clean_restart(self, entry: Entry) -> bool:
        """An `attempt_started` before which no text is missing."""
        if entry.event != "attempt_started":
            return False
        starts = {kind: entry.data.get(name) for kind, name in DISCARDS.items()}
        return all(start is None or (self.sent[kind] or 0) >= start for kind, start in starts.items())

    def had(self, entry: Entry) -> bool:
        """Its number is an old one, which a writer repeats when it does not know whether Redis took it."""
        return bool(entry.data["attempt"] == self.attempt and entry.data["seq"] <= self.seq)

    def advance(self, entry: Entry) -> None:
        if not self.had(entry):
            self.attempt, self.seq = entry.data["attempt"], entry.data["seq"]
        if entry.event == "attempt_started":
            self._discard(entry)

    def _discard(self, entry: Entry) -> None:
        for kind, name in DISCARDS.items():
            sent, start = self.sent[kind], entry.data.get(name)
            self.sent[kind] = None if sent is None or start is None else min(sent, start)


def cut(entry: Entry, sent: int | None) -> Frame:
    """The chunk without what was told already."""
    offset = entry.data["offset"]
    if sent is None or sent == offset:
        return Frame.of(entry)
    return Frame(entry.event, {**entry.data, "chunk": entry.data["chunk"][sent - offset :], "offset": sent}, entry.id)


def graft(text: dict[str, str], entry: Entry) -> bool:
    """Put the chunk where it belongs. False where text before it is missing."""
    kind, offset, chunk = entry.data["type"], entry.data["offset"], entry.data["chunk"]
    if offset > len(text[kind]):
        return False
    text[kind] += chunk[len(text[kind]) - offset :]
    return True


def is_behind(stored: Stored, entry: Entry, *, is_last_try: bool) -> bool:
    """Whether text from before the entry may be missing in the database.

    Its number proves that it is not. After some seconds the number is not waited for: all text is saved by then.
    """
    if stored.attempt > entry.data["attempt"]:
        return False
    if not is_last_try:
        return bool(stored.seq < entry.data["seq"] - 1)
    return entry.event == "text_chunk" and entry.data["offset"] > len(stored.text[entry.data["type"]])
