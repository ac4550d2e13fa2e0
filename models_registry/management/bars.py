"""How far a pull is, in a terminal: a bar for each layer and one for all. Elsewhere a line now and then."""

import shutil
from collections.abc import Callable

from django.template.defaultfilters import filesizeformat

from maintenance.templatetags.console import span
from models_registry.models import Pull

LAYERS_SHOWN = 8
NAME_CHARACTERS = 12
EVERY_PERCENT = 10
ERASE = "\x1b[K"

Write = Callable[[str], None]


class Bars:
    """Draws over what it drew before."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._height = 0

    def show(self, pull: Pull) -> None:
        width = max(40, min(100, shutil.get_terminal_size().columns))
        lines = [_layer(layer, width) for layer in pull.layers[-LAYERS_SHOWN:]]
        words = _measures(pull) if pull.phase.startswith("pulling ") and pull.layers else in_words(pull)
        lines.append(_bar("together", pull.percentage, words, width))
        up = f"\x1b[{self._height}A" if self._height else ""
        # A layer more moves the rest down by itself; there are never fewer.
        self._write(up + "".join(f"\r{line}{ERASE}\n" for line in lines))
        self._height = len(lines)


class Lines:
    """Says something when the server does something else, and every ten per cent."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._said: tuple[str, int] | None = None

    def show(self, pull: Pull) -> None:
        now = (pull.phase or pull.status, int(pull.percentage) // EVERY_PERCENT)
        if now != self._said:
            self._said = now
            self._write(f"{int(pull.percentage):3d} %  {in_words(pull)}\n")


def in_words(pull: Pull) -> str:
    """`pulling 6340dc3229b0, 1.2 GB of 4.4 GB, 31 MB/s, 1 min 40 s left`"""
    measures = _measures(pull)
    return f"{pull.phase or pull.status}, {measures}" if measures else pull.phase or pull.status


def _measures(pull: Pull) -> str:
    words = []
    if pull.total_bytes:
        words.append(f"{filesizeformat(pull.completed_bytes)} of {filesizeformat(pull.total_bytes)}")
    if pull.speed_bytes_per_second:
        words.append(f"{filesizeformat(pull.speed_bytes_per_second)}/s")
    if pull.eta_seconds:
        words.append(f"{pull.eta_seconds} s left" if pull.eta_seconds < 60 else f"{span(pull.eta_seconds)} left")
    return ", ".join(words).replace("\xa0", " ")


def _layer(layer: dict[str, object], width: int) -> str:
    total, completed = int(str(layer["total"])), int(str(layer["completed"]))
    name = str(layer["digest"]).removeprefix("sha256:")[:NAME_CHARACTERS]
    return _bar(name, 100 * completed / total if total else 0.0, filesizeformat(total).replace("\xa0", " "), width)


def _bar(name: str, percentage: float, note: str, width: int) -> str:
    head = f"{name:<{NAME_CHARACTERS}} {int(percentage):3d} % "
    room = max(10, width // 5)
    filled = int(room * percentage / 100)
    return f"{head}{'█' * filled}{'░' * (room - filled)} {note}"[:width]
