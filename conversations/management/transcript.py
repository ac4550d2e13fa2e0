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

    def take(self, frame: Frame) -> None:
        if frame.event == "text_chunk":
            self._say(frame.data["type"], frame.data["chunk"])
        elif frame.event == "attempt_started" and self.text:
            self.text = ""
            self._write("\n[its worker was lost; the answer begins again]\n")
        elif frame.event == "model_loading":
            self._write(f"[loading {frame.data['model']}]\n")
        elif frame.event == "tool_executing":
            self._turn_to(CONTENT)
            self._write(f"[{_name_of(frame.data)}]\n")
        elif frame.event in TERMINAL:
            self._finish(frame)

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
        self._raw("".join(letter for letter in text if letter.isprintable() or letter in "\n\t"))


def _name_of(data: Mapping[str, Any]) -> str:
    return str(data.get("tool", {}).get("name", "a tool"))
