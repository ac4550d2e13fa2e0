"""Being told to stop, once or twice, and being woken when a child ends."""

import select
import signal
import socket
import time
from contextlib import suppress
from types import FrameType

_SAME_REQUEST_SECONDS = 1.0


class StopSignals:
    """Counts requests to stop: Ctrl-C, SIGTERM, a closed terminal. To be made in the main thread, once."""

    def __init__(self, terminal: int | None = None) -> None:
        """`terminal` is a file descriptor of it, if there is one."""
        self._requested_at: float | None = None
        self.at_once = False
        self._reader, writer = socket.socketpair()
        self._reader.setblocking(False)
        writer.setblocking(False)
        self._writer = writer
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._sources = select.poll()
        self._sources.register(self._reader, select.POLLIN)
        self._terminal = terminal
        if terminal is not None:
            self._sources.register(terminal, 0)  # tells of its end alone
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
            signal.signal(signal.SIGHUP, self._request)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    @property
    def stop(self) -> bool:
        """Someone asked to stop."""
        return self._requested_at is not None

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes, a child's end included, at most this long."""
        sources = [source for source, _ in self._sources.poll(seconds * 1000)]
        if self._terminal in sources:
            # SIGHUP may have gone to make alone, which keeps it to itself.
            self._sources.unregister(self._terminal)
            self._request()
        with suppress(BlockingIOError):
            while self._reader.recv(512):
                pass

    def _request(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        now = time.monotonic()
        if self._requested_at is None:
            self._requested_at = now
        # make passes SIGTERM on to its children: a signal to the whole group arrives here twice.
        elif now - self._requested_at > _SAME_REQUEST_SECONDS:
            self.at_once = True
