"""Log lines that carry the job, run and conversation they belong to."""

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

log_context: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=MappingProxyType({}))


class ContextFilter(logging.Filter):
    """Puts the current context on every record, as ` job=… run=…`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.context = "".join(f" {name}={value}" for name, value in log_context.get().items())
        return True


class LineFormatter(logging.Formatter):
    """One line per record: time, level, logger, message, context."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(context)s")
