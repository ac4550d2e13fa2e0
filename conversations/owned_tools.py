"""Tools that users define: keeping them. API and console call these verbs; the rules of a tool are here alone."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from conversations import system_tools, tool_schemas, tool_secrets
from conversations.models import Agent, Tool
from conversations.user_tools import PLACEHOLDER
from maintenance import outbound
from maintenance.errors import Invalid, Refusal

NAME_TAKEN = "You have a tool with this name."
UNREADABLE = "The secret headers cannot be read any more, because SECRET_KEY was changed. Set them anew."


def create(user: User, values: Mapping[str, Any]) -> Tool:
    """`values` are columns of Tool, and `secret_headers` as `{name: value}`. Raises Invalid."""
    return _save(Tool(user=user), values)


def update(tool: Tool, values: Mapping[str, Any]) -> Tool:
    """Change what `values` names and leave the rest; a secret header that is None is removed. Raises Invalid.

    A run under way is offered what it was offered; the request itself is made as the tool is then.
    """
    return _save(tool, values)


def delete(tool: Tool, *, force: bool = False) -> None:
    """Raises Refusal, naming them, where agents use the tool; with `force` it is taken from them."""
    using = list(Agent.objects.filter(tools=tool).order_by("name", "pk"))
    if using and not force:
        named = [{"id": agent.pk, "name": agent.name} for agent in using]
        names = ", ".join(agent.name for agent in using[:10])
        raise Refusal(f"Agents use this tool: {names}.", code="tool_in_use", extra={"agents": named})
    tool.delete()


def secret_names(tool: Tool) -> list[str]:
    """The names of its secret headers; none where they cannot be read any more: see `warnings`."""
    try:
        return sorted(tool_secrets.headers(tool))
    except tool_secrets.Unreadable:
        return []


def warnings(tool: Tool) -> list[dict[str, str]]:
    """What will not be as its owner may think: `[{field, message}]`."""
    found = []
    try:
        tool_secrets.headers(tool)
    except tool_secrets.Unreadable:
        found.append({"field": "secret_headers", "message": UNREADABLE})
    if tool.name in system_tools.names():  # it came with a newer version of the server
        found.append({"field": "name", "message": f"The server's own tool {tool.name} is offered in its place."})
    return found


def of_owner(user: User, ids: Sequence[int]) -> list[Tool]:
    """The tools with these ids. Raises Invalid for one that is not there, or not the user's, or has a server's name."""
    found = Tool.objects.filter(user=user).in_bulk(ids)
    errors = [f"There is no tool {number}." for number in dict.fromkeys(ids) if number not in found]
    taken = system_tools.names()
    errors += [f"The server has a tool named {tool.name} itself." for tool in found.values() if tool.name in taken]
    if errors:
        raise Invalid("Some tools cannot be used.", errors={"tool_ids": errors})
    return list(found.values())


def _save(tool: Tool, values: Mapping[str, Any]) -> Tool:
    apply(tool, values)
    try:
        with transaction.atomic():
            tool.save()
    except IntegrityError:
        raise Invalid(NAME_TAKEN, errors={"name": [NAME_TAKEN]}) from None
    return tool


def apply(tool: Tool, values: Mapping[str, Any]) -> None:
    """As `update`, and nothing is saved. Raises Invalid, by field."""
    columns = dict(values)
    given = columns.pop("secret_headers", {})
    for name, value in columns.items():
        setattr(tool, name, value)
    named = {name.lower() for name in given}
    kept = [name for name in _readable(tool) if name.lower() not in named]
    secrets = tool_secrets.change(tool, given) if given else _readable(tool)
    errors = {
        "name": _name_fault(tool.name),
        "parameters": tool_schemas.fault(tool.parameters) or _parameters_fault(tool.parameters),
        "url": _url_fault(tool),
        "headers": _headers_fault(tool.headers),
        "secret_headers": _headers_fault(secrets) or _doubled(tool.headers, secrets) or _led_astray(tool, kept),
    }
    if any(errors.values()):
        raise Invalid("The tool is not valid.", errors={name: [fault] for name, fault in errors.items() if fault})


def _readable(tool: Tool) -> dict[str, str]:
    try:
        return tool_secrets.headers(tool)
    except tool_secrets.Unreadable:
        return {}


def _name_fault(name: str) -> str:
    if not tool_schemas.NAME.fullmatch(name):
        return tool_schemas.NAME_RULE
    return f"The server has a tool named {name} itself." if name in system_tools.names() else ""


def _parameters_fault(schema: Mapping[str, Any]) -> str:
    return "" if schema.get("type") == "object" else "A schema with the type object is required."


def _url_fault(tool: Tool) -> str:
    if tool.kind == Tool.Kind.CLIENT:
        return "" if not tool.url else "A client answers this tool, so it has no URL."
    if not tool.url:
        return "A tool that is called here needs a URL."
    properties = tool.parameters.get("properties")
    unknown = set(PLACEHOLDER.findall(tool.url)) - set(properties if isinstance(properties, dict) else ())
    if unknown:
        return f"{{{min(unknown)}}} is no property of the parameters."
    return _address_fault(tool.url)


def _address_fault(url: str) -> str:
    """What is wrong with a URL whose placeholders are known. Names are not resolved: that is done with each call."""
    authority = re.split(r"[/?#]", url.partition("://")[2])[0]
    if "{" in url.partition("://")[0] or "{" in authority:
        return "An argument cannot choose the scheme or the host."
    sample = PLACEHOLDER.sub("x", url)
    if set(sample) & set("{}#"):
        return "{name} stands for an argument; other braces, and a fragment, cannot be in a URL."
    try:
        target = outbound.targets.parse(sample)
        if target.address:
            outbound.Allowed().judge(target, target.address)
    except outbound.OutboundRefused as refusal:
        return refusal.message
    return ""


def _headers_fault(headers: Mapping[str, Any]) -> str:
    if not all(isinstance(value, str) for value in headers.values()):
        return "The value of a header is a text."
    if len({name.lower() for name in headers}) < len(headers):
        return "A header is named twice."
    try:
        outbound.check_headers(headers)
    except outbound.OutboundRefused as refusal:
        return refusal.message
    return ""


def _doubled(headers: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    both = sorted({name.lower() for name in headers} & {name.lower() for name in secrets})
    return f"{both[0]} is a plain header too; remove it there." if both else ""


def _led_astray(tool: Tool, kept: Collection[str]) -> str:
    """Whoever may edit a tool, or has a token that may, is not to learn its secrets by sending them to himself."""
    if not (kept and tool.pk and tool.url):
        return ""
    before = Tool.objects.filter(pk=tool.pk).values_list("url", flat=True).first()
    if before is None or _origin(before) == _origin(tool.url):
        return ""
    return f"{', '.join(sorted(kept))}: given for another address. Enter them again with this one, or remove them."


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
