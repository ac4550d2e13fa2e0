"""What Django answers where no view of ours does: JSON below `/api/`, its own pages elsewhere."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import Resolver404, resolve
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from maintenance.http.errors import FAILED, NOT_FOUND

API_PREFIXES = ("/api/", "/health/")


def _for_programs(request: HttpRequest) -> bool:
    return request.path_info.startswith(API_PREFIXES)


def _error(status: int, message: str, code: str) -> JsonResponse:
    return JsonResponse({"message": message, "code": code}, status=status)


@csrf_exempt
def unknown(request: HttpRequest, path: str = "") -> HttpResponse:
    """Whatever the API does not know. A slash too many at the end is forgiven, without a redirect."""
    if path.endswith("/"):
        try:
            match = resolve(request.path_info.rstrip("/"))
        except Resolver404:
            return _error(404, NOT_FOUND, "not_found")
        if match.func is not unknown:
            request.resolver_match = match
            answer: HttpResponse = match.func(request, *match.args, **match.kwargs)
            return answer
    return _error(404, NOT_FOUND, "not_found")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _for_programs(request):
        return _error(400, "The request cannot be read.", "malformed")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _for_programs(request):
        return _error(403, "This is not allowed.", "forbidden")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _for_programs(request):
        return _error(404, NOT_FOUND, "not_found")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if _for_programs(request):
        return _error(500, FAILED, "server_error")
    return defaults.server_error(request)
