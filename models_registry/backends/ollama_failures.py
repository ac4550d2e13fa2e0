"""What an Ollama server's words mean. It sends the same ones with a status of their own and as a line after a 200."""

import re

from models_registry import errors
from models_registry.backends import failures

_TOO_LONG = re.compile(f"{failures.CONTEXT.pattern}|prompt too long", re.I)


def _phrase(pattern: str, kind: type[errors.BackendError], message: str) -> failures.Phrase:
    return re.compile(pattern, re.I), kind, message


PHRASES: tuple[failures.Phrase, ...] = (
    (_TOO_LONG, errors.ContextWindowExceeded, "The messages do not fit the model's context window."),
    _phrase("no space left|disk( is)? full|disk quota", errors.DiskFull, "The disk of {backend} is full."),
    _phrase(
        "pull model manifest: .*(does not exist|not found|404)",
        errors.ModelNotFound,
        "There is no model {model!r} that {backend} could pull.",
    ),
    _phrase(
        "pull model manifest: .*(401|403|unauthori[sz]ed|denied)",
        errors.Unauthorized,
        "{backend} may not pull the model {model!r}.",
    ),
    _phrase(r"\bunauthorized\b", errors.Unauthorized, "{backend} refused the key, or has to be signed in."),
    _phrase(
        "no such host|dial tcp|i/o timeout|tls handshake|connection reset",
        errors.BackendError,
        "{backend} could not reach what it needs on the network.",
    ),
    _phrase("invalid model name", errors.BadRequest, "{model!r} is no name of a model."),
    _phrase(
        "does not support (?P<what>thinking|tools|chat|vision|images|completion)",
        errors.BadRequest,
        "The model {model!r} does not support {what}.",
    ),
    _phrase(r"model \S+ not found", errors.ModelNotFound, "{backend} does not have the model {model!r}."),
    _phrase("server busy|maximum pending requests", errors.RateLimited, "{backend} has too many calls waiting."),
    _phrase(
        "requires more system memory|out of memory|unable to allocate",
        errors.BackendError,
        "{backend} has not enough memory for the model {model!r}.",
    ),
    _phrase(
        "runner (process )?(has |is )?(unexpectedly stopped|terminated|no longer running)",
        errors.BackendError,
        "The model {model!r} stopped unexpectedly at {backend}.",
    ),
    # Another caller gave up, and the load that this one was waiting for too went with it.
    _phrase(
        "request cancell?ed|client (connection )?closed|context cancell?ed",
        errors.BackendError,
        "{backend} gave up loading the model {model!r}.",
    ),
)
