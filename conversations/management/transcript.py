"""An answer in the terminal, as it comes."""

from collections.abc import Callable, Mapping
from typing import Any

from conversations.frames import CONTENT, TERMINAL, Frame

DIM, PLAIN = "\033[2m", "\033[0m"


class Transcript:
    """Gives the text of frames to `write`. What the model thinks is dimmed, and left out where nobody sees dimming.

    `end` is the frame that ended the run, once it has come.
    """

    def __init__(self, write: Callable[[str], object], *, dims: bool) -> None:
        self.text = ""
        self.end: Frame | None = None
        self._raw = write
        self._dims = dims
        self._kind = CONTENT
        self._at_line_start = True

    def take(self, frame: Frame) -> None:
        if frame.event == "text_chunk":
            self._say(frame.data["type"], frame.data["chunk"])
        elif frame.event == "attempt_started":
            self._discard(frame.data["discard_from"])
        elif frame.event == "model_loading":
            self._write(f"[loading {frame.data['model']}]\n")
        elif frame.event == "tool_executing":
            self._turn_to(CONTENT)
            self._write(f"[{_name_of(frame.data)}]\n")
        elif frame.event in TERMINAL:
            self._finish(frame)

    def complete(self, text: str) -> None:
        """Say what is missing of the whole answer, where more was said while nobody listened."""
        if text.startswith(self.text) and len(text) > len(self.text):
            self._say(CONTENT, text[len(self.text) :])

    def pause(self) -> None:
        """Begin a new line where something else is said in between."""
        self._turn_to(CONTENT)
        if not self._at_line_start:
            self._write("\n")

    def _discard(self, offset: int) -> None:
        if len(self.text) > offset:
            self.text = self.text[:offset]
            self._write("\n[its worker was lost; the answer begins again]\n")

    def _say(self, kind: str, chunk: str) -> None:
        if kind == CONTENT:
            self.text += chunk
        elif not self._dims:
            return
        self._turn_to(kind)
        self._write(chunk)

    def _turn_to(self, kind: str) -> None:
        if kind != self._kind:
            self._raw(f"{PLAIN}\n" if kind == CONTENT else DIM)
            self._kind = kind

    def _finish(self, frame: Frame) -> None:
        self.end = frame
        self._turn_to(CONTENT)
        if not self.text:  # it was over before anybody listened
            for message in frame.data.get("messages", []):
                self._say(CONTENT, message["content"])
        self._write("\n")

    def _write(self, text: str) -> None:
        # What a model says must not control the terminal.
        shown = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
        self._at_line_start = shown.endswith("\n") if shown else self._at_line_start
        self._raw(shown)


def _name_of(data: Mapping[str, Any]) -> str:
    return str(data.get("tool", {}).get("name", "a tool"))
