"""Calling a tool once, from its page, with arguments that somebody typed."""

import json
import time
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from conversations import owned_tools, user_tools
from conversations.console.calls import shown
from conversations.models import Tool, ToolCall
from conversations.system_tools.base import Caller, ToolFailed
from conversations.toolbox import Offered
from maintenance.access import audit
from maintenance.console.masking import COVER, masked
from maintenance.console.operators import operator
from maintenance.console.typed_json import StorableJSON
from maintenance.templatetags.console import span
from models_registry.backends.base import Cancellation

SAMPLES = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


def example(tool: Tool) -> str:
    """Arguments to begin with: what is required, empty."""
    properties = tool.parameters.get("properties") or {}
    required = tool.parameters.get("required") or []
    found = {name: _sample(properties.get(name)) for name in required if isinstance(name, str)}
    return json.dumps(found, indent=2)


def _sample(schema: Any) -> Any:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return SAMPLES.get(kind, "") if isinstance(kind, str) else ""


def preview(tool: Tool, text: str) -> dict[str, Any]:
    """The request that these arguments make: `{method, url, headers, body}`, secrets covered; or the `error`."""
    try:
        arguments = _arguments(tool, text)
        url, body = user_tools.request_of(tool, arguments)
    except ToolFailed as error:
        return {"error": str(error)}
    secrets = dict.fromkeys(owned_tools.secret_names(tool), COVER)
    sent = {"Content-Type": "application/json"} if body is not None else {}
    plain = {**sent, **tool.headers}
    return {
        "method": tool.method,
        "url": url,
        "headers": {**masked(plain), **secrets},
        "body": body.decode() if body is not None else "",
    }


def call(request: HttpRequest, tool: Tool, text: str) -> dict[str, Any]:
    """`{ok, text, truncated, took}`: what the model would be told. Leaves a row in the audit."""
    started = time.monotonic()
    try:
        ok, said = True, _call(tool, text)
    except ToolFailed as error:
        ok, said = False, f"Error: {error}"
    beginning, truncated = shown(said)
    who, address = operator(request), audit.address_of(request)
    audit.record("tool.try", f"tool:{tool.pk}", actor=who, address=address, result="ok" if ok else said)
    return {"ok": ok, "text": beginning, "truncated": truncated, "took": span(time.monotonic() - started)}


def _call(tool: Tool, text: str) -> str:
    caller = Caller(conversation_id=0, user_id=tool.user_id, cancellation=Cancellation())
    return user_tools.call(tool.pk, _arguments(tool, text), caller)


def _arguments(tool: Tool, text: str) -> dict[str, Any]:
    """Raises ToolFailed where they are not what the tool's schema asks for."""
    if tool.kind != Tool.Kind.USER:
        raise ToolFailed("its clients make this call, so nothing is requested from here.")
    try:
        arguments = json.loads(text or "{}", cls=StorableJSON)
    except ValueError as error:
        raise ToolFailed(f"the arguments are not valid JSON: {error}.") from None
    if not isinstance(arguments, dict):
        raise ToolFailed("the arguments are not a JSON object.")
    offered = Offered(name=tool.name, description=tool.description, parameters=tool.parameters, kind=ToolCall.Kind.USER)
    if fault := offered.fault(arguments):
        raise ToolFailed(f"the arguments do not fit the tool's schema: {fault}")
    return arguments
