"""Tools that the server itself offers to every agent. A family is one file: see `todo` for how one is made.

A family's file ends with its `TOOLS`; `FAMILIES` here names the files.
"""

from collections.abc import Iterator

from conversations.system_tools import todo, web
from conversations.system_tools.base import SystemTool

FAMILIES = (todo, web)


def configured() -> Iterator[SystemTool]:
    """Those that can be used with the settings as they are."""
    return (tool for family in FAMILIES for tool in family.TOOLS if tool.is_configured())


def find(name: str) -> SystemTool | None:
    return next((tool for tool in configured() if tool.name == name), None)


def names() -> frozenset[str]:
    """Every name that is taken, configured or not: no other tool may have it."""
    return frozenset(tool.name for family in FAMILIES for tool in family.TOOLS)
