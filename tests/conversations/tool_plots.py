"""A model that plays plots and a tool that counts: two servers that know, after any trouble, what was really asked."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from conversations.models import Agent, Tool
from models_registry.fakes import openai_rules
from models_registry.fakes.http import Move, Received, Script, chunk, document
from models_registry.fakes.openai import DONE, FOR_EVER, STREAM_HEAD, completion, refusal, streamed

MODEL = "plots"
SILENCE: Script = [FOR_EVER]
HALF: Script = [STREAM_HEAD + chunk(completion(delta={"content": "half"})), FOR_EVER]


def says(text: str) -> Script:
    """A reply that ends its run."""
    return streamed(completion(delta={"content": text}), completion(finish_reason="stop"), DONE)


def calls(*asked: tuple[str, str], text: str = "let me see", pause_seconds: float = 0.0) -> Script:
    """A reply that says the text and calls these tools, each by its name with what it is asked for."""
    said = [completion(delta={"content": word}) for word in re.findall(r"\S+\s*", text)]
    made = [completion(delta={"tool_calls": [_call(place, *one)]}) for place, one in enumerate(asked)]
    return paced(*said, *made, completion(finish_reason="tool_calls"), DONE, pause_seconds=pause_seconds)


def paced(*events: bytes, pause_seconds: float) -> Script:
    return streamed(*events, delay_seconds=pause_seconds)


def _call(place: int, name: str, thing: str) -> Mapping[str, Any]:
    function = {"name": name, "arguments": f'{{"thing": "{thing}"}}'}
    return {"index": place, "id": f"call_{place}", "type": "function", "function": function}


class PlotModel:
    """Plays the plot that the last user message names: for each turn its scripts, one for each time that it is asked.

    `asked` counts by plot and turn. A history that OpenAI would refuse is refused.
    """

    def __init__(self, plots: Mapping[str, Sequence[Sequence[Script]]]) -> None:
        self.plots = dict(plots)
        self.asked: Counter[tuple[str, int]] = Counter()

    def answer(self, received: Received) -> Script:
        if received.method == "GET":
            return document(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        messages = received.body["messages"]
        if broken := openai_rules.broken(messages):
            return refusal(400, broken)
        question = max(place for place, message in enumerate(messages) if message["role"] == "user")
        plot = messages[question]["content"]
        turn = sum(message["role"] == "assistant" for message in messages[question:])
        self.asked[plot, turn] += 1
        scripts = self.plots[plot][turn]
        return scripts[min(self.asked[plot, turn], len(scripts)) - 1]


class CountingTool:
    """Answers `/count/THING` and counts it; the first request for one of `stalling` never gets its answer."""

    def __init__(self, *stalling: str, seconds: float = 0.0) -> None:
        self.stalling = set(stalling)
        self.seconds = seconds
        self.counted: Counter[str] = Counter()

    def answer(self, received: Received) -> Script:
        thing = received.path.rpartition("/")[2]
        self.counted[thing] += 1
        if thing in self.stalling and self.counted[thing] == 1:
            return SILENCE
        done: list[Move] = list(document(200, {"done": thing}))
        return [self.seconds, *done] if self.seconds else done


def give(agent: Agent, url: str) -> None:
    """Give the agent the tools `count`, at the server with this address, and `look`, which is its client's."""
    thing = {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]}
    made = {"user": agent.user, "description": "Do it.", "parameters": thing}
    count = Tool.objects.create(name="count", url=f"{url}/count/{{thing}}", **made)
    look = Tool.objects.create(name="look", kind=Tool.Kind.CLIENT, **made)
    agent.tools.add(count, look)
