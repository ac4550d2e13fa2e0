"""What every view of the API shares: the shape of errors and lists, limits of rate and size."""

from maintenance.http.errors import exception_handler
from maintenance.http.pages import Pages
from maintenance.http.parsers import JSONBody
from maintenance.http.throttles import LoginThrottle, RunThrottle, UserThrottle

__all__ = ["JSONBody", "LoginThrottle", "Pages", "RunThrottle", "UserThrottle", "exception_handler"]
