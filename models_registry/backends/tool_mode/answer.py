"""Reading the JSON of a reply as it comes: an answer's text is given out at once, a call when it is whole."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from models_registry.backends.base import RequestedCall
from models_registry.backends.texts import Cleaner, json_object

_BEGINNING = '{"answer":"'
_BLANKS_BEFORE = {0, 1, 9, 10}  # places in _BEGINNING where JSON allows white space
_BLANKS = " \t\r\n"
_PLAIN = re.compile(r'[^"\\]+')
_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_MEANS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Reading:
    """Takes the reply in pieces of any size; the text that it gives out does not depend on where they were cut.

    Afterwards `text` is exactly what was given out, `call` the tool call if it is one, `complete` whether nothing is
    missing. What is no JSON object at all is an answer as it stands: a server that ignores the schema loses nothing.
    """

    def __init__(self, call_id: str) -> None:
        self.call: RequestedCall | None = None
        self.complete = False
        self._call_id = call_id
        self._given: list[str] = []
        self._cleaner = Cleaner()
        self._read = self._beginning
        self._matched = 0
        self._kept: list[str] = []  # everything of what may be a call
        self._rest = ""  # of an answer: half an escape

    @property
    def text(self) -> str:
        return "".join(self._given)

    def feed(self, piece: str) -> Iterator[str]:
        """The text that is certain by now, if any."""
        yield from self._give(self._cleaner.feed(self._read(piece)))

    def finish(self) -> Iterator[str]:
        """What was held back; after this nothing comes."""
        yield from self._give(self._cleaner.feed(self._whole()) + self._cleaner.finish())

    def _give(self, text: str) -> Iterator[str]:
        if text:
            self._given.append(text)
            yield text

    def _beginning(self, piece: str) -> str:
        """Wait until it is clear what this will be."""
        self._kept.append(piece)
        for place, character in enumerate(piece):
            if character == _BEGINNING[self._matched]:
                self._matched += 1
            elif character not in _BLANKS or self._matched not in _BLANKS_BEFORE:
                self._read = self._later if self._matched else self._plain
                return "" if self._matched else self._released()
            if self._matched == len(_BEGINNING):
                self._kept, self._read = [], self._answer
                return self._read(piece[place + 1 :])
        return ""

    def _released(self) -> str:
        kept, self._kept = "".join(self._kept), []
        self.complete = True
        return kept

    def _plain(self, piece: str) -> str:
        return piece

    def _later(self, piece: str) -> str:
        self._kept.append(piece)
        return ""

    def _answer(self, piece: str) -> str:
        """The characters that the piece of a JSON string stands for."""
        text, self._rest = self._rest + piece, ""
        said: list[str] = []
        place = 0
        while place < len(text):
            if plain := _PLAIN.match(text, place):
                said.append(plain.group())
                place = plain.end()
            elif escape := _ESCAPE.match(text, place):
                said.append(_character(escape))
                place = escape.end()
            elif _HALF_ESCAPE.match(text, place):
                self._rest = text[place:]
                break
            else:
                self.complete = text[place] == '"'  # an escape that JSON does not know breaks the answer off
                self._read = self._nothing
                break
        return "".join(said)

    def _nothing(self, piece: str) -> str:
        return ""

    def _whole(self) -> str:
        """What is kept is after all: a call, an answer spelt in an unusual way, or some other text."""
        if not self._matched:
            return self._released()
        value = json_object("".join(self._kept)) if self._kept else None
        if value is None:
            return ""
        self.complete = True
        if isinstance(value.get("tool"), str):
            self.call = self._requested(value)
            return ""
        return value["answer"] if isinstance(value.get("answer"), str) else self._released()

    def _requested(self, value: Mapping[str, Any]) -> RequestedCall:
        arguments = value.get("arguments", {})
        known = isinstance(arguments, dict)
        return RequestedCall(
            provider_id=self._call_id,
            name=value["tool"],
            arguments=arguments if known else None,
            raw_arguments="" if known else json.dumps(arguments, ensure_ascii=False),
        )


def _character(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return _MEANS.get(escape[2], escape[2])
