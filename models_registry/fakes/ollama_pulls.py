"""What happens when a model is pulled at the Ollama test server; the model's name chooses."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from models_registry.fakes.http import CUT, Play, Script, chunk
from models_registry.fakes.ollama_chat import LINES_HEAD, line, refusal, streamed
from models_registry.fakes.openai import FOR_EVER

STEP_SECONDS = 0.05
LARGE, SMALL = "6340dc3229b0", "966de95ca8a6"
LARGE_BYTES, SMALL_BYTES = 4_683_073_184, 1_429
MANIFEST = line(status="pulling manifest")
ENDING = [line(status=status) for status in ("verifying sha256 digest", "writing manifest", "success")]
DISK_FULL = "write /models/blobs/sha256-6340dc3229b0-partial-0: no space left on device"
NO_NETWORK = (
    'pull model manifest: Get "https://registry.ollama.ai/v2/library/x/manifests/latest": dial tcp: no such host'
)


def layer(digest: str, total: int, completed: int | None = None) -> bytes:
    """One line about a layer; like the server, it leaves out a `completed` of zero."""
    values: dict[str, Any] = {"status": f"pulling {digest}", "digest": f"sha256:{digest}", "total": total}
    return line(**values, **({"completed": completed} if completed else {}))


def scripts() -> dict[str, Script]:
    """What is the same every time. A pull that is told to succeed installs its model."""
    begun = [MANIFEST, layer(LARGE, LARGE_BYTES), layer(LARGE, LARGE_BYTES, 9_000_000)]
    first, small = LINES_HEAD + b"".join(map(chunk, begun)), layer(SMALL, SMALL_BYTES, SMALL_BYTES)
    again = chunk(layer(LARGE, LARGE_BYTES, 9_000_000))
    wavering = [layer(LARGE, LARGE_BYTES, completed) for completed in (8_000_000, 9_000_000)]
    return {
        "pull-ok": streamed(*begun, layer(LARGE, LARGE_BYTES, 8_000_000), small, *ENDING),
        "pull-cached": streamed(MANIFEST, layer(LARGE, LARGE_BYTES, LARGE_BYTES), small, *ENDING),
        "pull-backwards": streamed(*begun, *wavering, layer(LARGE, LARGE_BYTES, LARGE_BYTES), small, *ENDING),
        "pull-verifying": [first, chunk(ENDING[0]), 1.5, *map(chunk, ENDING[1:]), chunk(b"")],
        "pull-unknown": streamed(MANIFEST, line(error="pull model manifest: file does not exist")),
        "pull-error": streamed(*begun, line(error="max retries exceeded: EOF")),
        "pull-disk-full": streamed(*begun, line(error=DISK_FULL)),
        "pull-no-network": streamed(MANIFEST, line(error=NO_NETWORK)),
        "pull-invalid": refusal(400, "invalid model name"),
        "pull-eof": streamed(*begun),
        "pull-cut": [first + b'40\r\n{"status":"pul', CUT],
        "pull-stall": [first, *(move for _ in range(72_000) for move in (again, STEP_SECONDS))],
        "pull-wavering": [
            first,
            *(move for number in range(72_000) for move in (chunk(wavering[number % 2]), STEP_SECONDS)),
        ],
        "pull-silent": [first, FOR_EVER],
    }


@dataclass
class Download:
    """What is there of a model, for all who wait for it. Goes on only while somebody does, and from where it was.

    A `stubborn` one goes on all the same.
    """

    seconds: float
    stubborn: bool = False
    fetched: float = 0.0  # of 1
    waiters: int = 0
    _at: float = field(default=0.0)

    def join(self) -> None:
        if not self.waiters and not (self.stubborn and self._at):
            self._at = time.monotonic()
        self.waiters += 1

    def leave(self) -> None:
        self._advance()
        self.waiters -= 1

    def lines(self) -> list[bytes]:
        """What to say now: the layers come one after the other."""
        self._advance()
        large = min(1.0, self.fetched / 0.9)
        said = [layer(LARGE, LARGE_BYTES, int(large * LARGE_BYTES))]
        return said if large < 1 else [*said, layer(SMALL, SMALL_BYTES, int((self.fetched - 0.9) * 10 * SMALL_BYTES))]

    def _advance(self) -> None:
        now = time.monotonic()
        self.fetched = min(1.0, self.fetched + (now - self._at) / self.seconds) if self.seconds else 1.0
        self._at = now


def shared(download: Download, succeeded: Callable[[], None]) -> Play:
    """One client's part in a download. `succeeded` is called before the client is told."""
    download.join()
    try:
        yield LINES_HEAD + chunk(MANIFEST)
        while True:
            yield chunk(b"".join(download.lines()))
            if download.fetched >= 1:
                break
            yield STEP_SECONDS
    finally:
        download.leave()
    succeeded()
    yield b"".join([*map(chunk, ENDING), chunk(b"")])
