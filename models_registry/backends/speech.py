"""What a model says and thinks as it comes, made fit to be stored."""

from collections.abc import Iterator

from models_registry.backends.base import DeltaType
from models_registry.backends.texts import Cleaner

Delta = tuple[DeltaType, str]


class Speech:
    """Takes pieces of text and gives them back as deltas; keeps the whole."""

    def __init__(self) -> None:
        self._texts: dict[DeltaType, list[str]] = {kind: [] for kind in DeltaType}
        self._cleaners = {kind: Cleaner() for kind in DeltaType}

    def say(self, kind: DeltaType, piece: str) -> Iterator[Delta]:
        yield from self._said(kind, self._cleaners[kind].feed(piece))

    def finish(self) -> Iterator[Delta]:
        """What was held back at the end of the stream."""
        for kind, cleaner in self._cleaners.items():
            yield from self._said(kind, cleaner.finish())

    def text(self, kind: DeltaType) -> str:
        """Exactly the concatenation of the deltas of this kind."""
        return "".join(self._texts[kind])

    @property
    def begun(self) -> bool:
        return any(self._texts.values())

    def _said(self, kind: DeltaType, text: str) -> Iterator[Delta]:
        if text:
            self._texts[kind].append(text)
            yield kind, text
