"""What can go wrong at a backend. One tree; `permanent` says whether another attempt could help.

    BackendError                 code                     permanent
    ├── BackendUnreachable       backend_unreachable      no
    ├── BackendTimeout           backend_timeout          no
    │   └── PullStalled          pull_stalled             no    (a download that no longer grows)
    ├── RateLimited              rate_limited             no    (retry_after_seconds, if the backend said so)
    ├── StreamEnded              stream_ended             no    (the stream ended without its end marker)
    ├── ModelNotFound            model_not_found          yes
    ├── ContextWindowExceeded    context_window           yes
    ├── Unauthorized             unauthorized             yes
    ├── BadRequest               bad_request              yes
    ├── DiskFull                 disk_full                yes   (at the backend)
    └── BackendMisconfigured     backend_misconfigured    yes   (unknown, disabled, or without its settings)

A plain BackendError has the code `backend_error`. Its message is safe to show to a client: never a key, a URL with
credentials or a provider's raw body. `detail` holds the rest, cut short and without our secrets, for the log alone.
"""


class BackendError(Exception):
    """A backend could not answer."""

    code = "backend_error"
    permanent = False

    def __init__(self, message: str, *, detail: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class BackendUnreachable(BackendError):
    code = "backend_unreachable"


class BackendTimeout(BackendError):
    code = "backend_timeout"


class PullStalled(BackendTimeout):
    code = "pull_stalled"


class RateLimited(BackendError):
    code = "rate_limited"


class StreamEnded(BackendError):
    code = "stream_ended"


class ModelNotFound(BackendError):
    code = "model_not_found"
    permanent = True


class ContextWindowExceeded(BackendError):
    code = "context_window"
    permanent = True


class Unauthorized(BackendError):
    code = "unauthorized"
    permanent = True


class BadRequest(BackendError):
    code = "bad_request"
    permanent = True


class DiskFull(BackendError):
    code = "disk_full"
    permanent = True


class BackendMisconfigured(BackendError):
    code = "backend_misconfigured"
    permanent = True


class Cancelled(Exception):
    """The call was cancelled from this side. Not an error of the backend."""
