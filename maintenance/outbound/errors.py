"""What can come of a request besides an answer. Both messages are safe to show."""

from maintenance.errors import Refusal


class OutboundRefused(Refusal):
    """A rule forbids the request; nothing was sent to the address that it forbids."""

    code = "outbound_refused"
    status_code = 422


class OutboundFailed(Exception):
    """No answer came. `permanent`: another attempt cannot help.

    `code` is outbound_unreachable, outbound_timeout or outbound_broken.
    """

    def __init__(self, message: str, *, code: str, permanent: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.permanent = permanent
