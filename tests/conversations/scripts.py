"""What the fake backend is told to do, as the user message that tells it."""

import json
from typing import Any

from conversations import system_tools

Step = dict[str, Any]


def script(*steps: Step) -> str:
    """One turn."""
    return json.dumps({"script": list(steps)})


def turns(*each: list[Step]) -> str:
    """Several turns of one run."""
    return json.dumps({"turns": list(each)})


def say(text: str) -> Step:
    return {"text": text}


def think(text: str) -> Step:
    return {"thinking": text}


def call(name: str, **arguments: Any) -> Step:
    return {"tool_call": {"name": name, "arguments": arguments}}


def wait(milliseconds: int) -> Step:
    return {"delay_ms": milliseconds}


def fail(code: str) -> Step:
    return {"error": code}


CUT: Step = {"cut": True}


def no_tool(name: str) -> str:
    """What a model is told that asks for this tool, which is not there; those that are there are named."""
    named = ", ".join(tool.name for tool in system_tools.configured())
    return f'Error: there is no tool named "{name}". There are: {named}.'
