"""Ctrl-C as a wish, not as an exception in the middle of something."""

import signal
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """While it is entered the first Ctrl-C is only noted: see `wanted`. The second one ends the program."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
