"""The one way out for requests that a user or a model can aim: fetched pages, tools over HTTP, webhooks.

answer = outbound.send("GET", "https://example.org/page", max_bytes=100_000)

What a URL may be is in `targets`, which addresses it may lead to in `addresses` and `allowed`. A name is resolved
once, each address that comes of it is judged, and the connection goes to one of those: a second look at the name
server, which could answer otherwise, does not happen. Each redirect is judged as a request of its own. Proxies,
~/.netrc and cookies are not used.
"""

from maintenance.outbound import checks, targets
from maintenance.outbound.allowed import Allowed
from maintenance.outbound.errors import OutboundFailed, OutboundRefused
from maintenance.outbound.sending import check_headers, send
from maintenance.outbound.wire import Answer

__all__ = ["Allowed", "Answer", "OutboundFailed", "OutboundRefused", "check_headers", "checks", "send", "targets"]
