"""What the fake backend is told to do, as the user message that tells it."""

import json
from typing import Any

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
