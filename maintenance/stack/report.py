"""What the operator sees while the stack starts, runs and stops."""

from contextlib import suppress

from django.core.management.base import OutputWrapper

_GREEN, _YELLOW, _RED, _BOLD, _PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[1m", "\033[0m"


class Report:
    """One line for each thing that happens; colours only where a person reads."""

    def __init__(self, out: OutputWrapper, *, colour: bool) -> None:
        self._out = out
        self._colour = colour

    def good(self, name: str, state: str, detail: str = "", seconds: float | None = None) -> None:
        self._row(_GREEN, name, state, detail, seconds)

    def warn(self, name: str, state: str, detail: str = "", seconds: float | None = None) -> None:
        self._row(_YELLOW, name, state, detail, seconds)

    def bad(self, name: str, state: str, detail: str = "", seconds: float | None = None) -> None:
        self._row(_RED, name, state, detail, seconds)

    def headline(self, text: str) -> None:
        self._line(self._painted(_BOLD, text))

    def text(self, text: str) -> None:
        """Something a step or a part said itself."""
        self._line(f"    {text}")

    def _row(self, colour: str, name: str, state: str, detail: str, seconds: float | None) -> None:
        took = "" if seconds is None else f"{seconds:.1f} s"
        self._line(f"  {name:<13} {self._painted(colour, f'{state:<9}')} {detail:<34} {took:>7}".rstrip())

    def _painted(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text

    def _line(self, text: str) -> None:
        # The terminal may be gone: that is why the stack stops, not why it must not stop in order.
        with suppress(OSError):
            self._out.write(text)
            self._out.flush()
