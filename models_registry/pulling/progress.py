"""How far a pull is, from the lines that its server says. Arithmetic alone: no clock, no database, no Redis.

A server tells bytes of one layer at a time; totals of later layers are unknown until they start, parts that failed are
taken off again, and layers that are there already come as one line. What is shown must bear all of that: neither the
percentage nor a layer's bytes ever fall, and there is no negative speed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from models_registry.backends.base import PullProgress

# 100 is said only when the server has said that it succeeded: what it still has to verify may take long, or fail.
ALMOST = 99.0
# More than any model has, and no more than JavaScript and the database can hold.
BYTES_MAX = 2**53 - 1
LAYERS_MAX = 200
PHASE_CHARACTERS = 255
# A sample over less time than this says more about buffers than about the line.
SAMPLE_SECONDS = 0.5
SMOOTHING = 0.3


@dataclass(frozen=True)
class Layer:
    """One file of a model. `total` is 0 while it is not known."""

    digest: str
    total: int = 0
    completed: int = 0

    @property
    def shape(self) -> dict[str, Any]:
        return {"digest": self.digest, "total": self.total, "completed": self.completed}


class Speed:
    """Bytes per second of one layer, as a moving average. None until there was something to measure."""

    def __init__(self, completed: int, now: float) -> None:
        self.value: float | None = None
        self._completed = completed
        self._at = now

    def sample(self, completed: int, now: float) -> None:
        seconds = now - self._at
        if seconds < SAMPLE_SECONDS:
            return
        measured = max(0, completed - self._completed) / seconds
        self.value = measured if self.value is None else self.value + SMOOTHING * (measured - self.value)
        self._completed, self._at = completed, now


class Progress:
    """Takes lines in order. It may begin where an earlier execution of the pull was."""

    def __init__(self, layers: Iterable[Mapping[str, Any]] = (), percentage: float = 0.0) -> None:
        self.phase = ""
        self.digest = ""
        self.percentage = percentage
        self._layers = {str(layer["digest"]): Layer(**layer) for layer in layers}
        self._speed: Speed | None = None

    def take(self, line: PullProgress, now: float) -> None:
        """`now` is seconds of a clock that does not go back."""
        self.phase = "".join(letter for letter in line.phase if letter.isprintable())[:PHASE_CHARACTERS]
        if not line.digest:
            self.digest, self._speed = "", None
            return
        known = self._layers.get(line.digest, Layer(line.digest[:PHASE_CHARACTERS]))
        if line.digest not in self._layers and len(self._layers) >= LAYERS_MAX:
            return
        layer = self._layers[line.digest] = _grown(known, line)
        if self.digest != line.digest or self._speed is None:
            # What is there already when a layer is first spoken of was not downloaded just now.
            self.digest, self._speed = line.digest, Speed(layer.completed, now)
        self._speed.sample(layer.completed, now)
        if self.total:
            self.percentage = max(self.percentage, min(ALMOST, 100 * self.completed / self.total))

    def finish(self) -> None:
        """The server has said that it succeeded."""
        self._layers = {
            digest: replace(layer, completed=layer.total or layer.completed) for digest, layer in self._layers.items()
        }
        self.percentage, self.digest, self._speed = 100.0, "", None

    @property
    def layer(self) -> Layer | None:
        """The one that is under way."""
        return self._layers.get(self.digest)

    @property
    def layers(self) -> list[dict[str, Any]]:
        return [layer.shape for layer in self._layers.values()]

    @property
    def total(self) -> int:
        """Of the layers whose size is known."""
        return sum(layer.total for layer in self._layers.values())

    @property
    def completed(self) -> int:
        return sum(layer.completed for layer in self._layers.values() if layer.total)

    @property
    def speed(self) -> int | None:
        """Bytes per second; None while no layer is under way."""
        return None if self._speed is None or self._speed.value is None else min(BYTES_MAX, round(self._speed.value))

    @property
    def eta(self) -> int | None:
        """Seconds until the layers that are known are there; None while nothing moves."""
        if not self.speed or not self.total:
            return None
        return min(2**31 - 1, round((self.total - self.completed) / self.speed))


def _grown(known: Layer, line: PullProgress) -> Layer:
    total, completed = max(known.total, _bytes(line.total)), max(known.completed, _bytes(line.completed))
    if total:
        # A size that is told late may be less than what came already.
        total = max(total, known.completed)
        completed = min(completed, total)
    return replace(known, total=total, completed=completed)


def _bytes(value: int | None) -> int:
    return max(0, min(value or 0, BYTES_MAX))
