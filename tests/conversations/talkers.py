"""One model on three servers, each with its own protocol and its own rules of what it refuses.

Asked to talk, it says some words in each of its turns, slowly, and calls the tool `count`; asked anything else, it says
"Yes." at once.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models_registry.fakes import anthropic, ollama_chat, openai
from models_registry.fakes.anthropic import AnthropicServer
from models_registry.fakes.http import Play, Received, Script
from models_registry.fakes.ollama import OllamaServer
from models_registry.fakes.openai import DONE, OpenAIServer, completion

MODEL = "talker"
TALK = "talk"
TURNS = 3
WORDS = ("The ", "quick ", "brown ", "fox ", "jumps. ")
PAUSE_SECONDS = 0.01
AnyServer = OpenAIServer | OllamaServer | AnthropicServer


@dataclass(frozen=True)
class Dialect:
    """`reply` makes the events of a reply with these words, and a call for this thing if there is one."""

    name: str
    serve: Callable[[], AnyServer]
    settings: Callable[[AnyServer], Mapping[str, str]]
    reply: Callable[[Sequence[str], str], list[bytes]]
    streamed: Callable[..., Script]


def _openai(words: Sequence[str], thing: str) -> list[bytes]:
    said = [completion(delta={"content": word}) for word in words]
    function = {"name": "count", "arguments": json.dumps({"thing": thing})}
    call = {"index": 0, "id": "call_0", "type": "function", "function": function}
    made = [completion(delta={"tool_calls": [call]})] if thing else []
    return [*said, *made, completion(finish_reason="tool_calls" if thing else "stop"), DONE]


def _ollama(words: Sequence[str], thing: str) -> list[bytes]:
    function = {"index": 0, "name": "count", "arguments": {"thing": thing}}
    made = [ollama_chat.said(tool_calls=[{"function": function}])] if thing else []
    return [*map(ollama_chat.said, words), *made, ollama_chat.ended()]


def _anthropic(words: Sequence[str], thing: str) -> list[bytes]:
    # Of many runs: Anthropic's ids never repeat.
    made = anthropic.tool_use(1, f"toolu_{thing}", "count", json.dumps({"thing": thing})) if thing else []
    ending = anthropic.ending("tool_use" if thing else "end_turn")
    return [anthropic.begin(), *anthropic.text(0, *words), *made, *ending]


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "openai",
            OpenAIServer,
            lambda server: {"OPENAI_BASE_URL": server.base_url},
            _openai,
            openai.streamed,
        ),
        Dialect(
            "ollama",
            OllamaServer,
            lambda server: {"OLLAMA_BASE_URL": server.base_url},
            _ollama,
            ollama_chat.streamed,
        ),
        Dialect(
            "anthropic",
            AnthropicServer,
            lambda server: {"ANTHROPIC_BASE_URL": server.base_url, "ANTHROPIC_API_KEY": "sk-ant-planted"},
            _anthropic,
            openai.streamed,
        ),
    )
}


class Talker:
    """The model on one of the servers. `asked` are the requests for a reply, as they came."""

    def __init__(self, dialect: Dialect, server: AnyServer) -> None:
        self.dialect, self.server = dialect, server
        self.asked: list[Received] = []
        self._refusing = server.answer
        server.scripts[MODEL] = self._script("", 0)
        server.answer = self.answer

    def answer(self, received: Received) -> Script | Play:
        if received.method == "POST" and isinstance(received.body, dict) and received.body.get("messages"):
            self.asked.append(received)
            self.server.scripts[MODEL] = self._script(*_question(received.body["messages"]))
        return self._refusing(received)

    def _script(self, question: str, turn: int) -> Script:
        what, _, number = question.partition(" ")
        if what != TALK:
            return self.dialect.streamed(*self.dialect.reply(["Yes."], ""))
        thing = f"{number}-{turn}" if turn + 1 < TURNS else ""
        return self.dialect.streamed(*self.dialect.reply(WORDS, thing), delay_seconds=PAUSE_SECONDS)


def _question(messages: Sequence[Mapping[str, Any]]) -> tuple[str, int]:
    """What the user said last, and how many replies there were since."""
    turn = 0
    for message in reversed(messages):
        turn += message["role"] == "assistant"
        if message["role"] == "user" and (text := _text(message["content"])):
            return text, turn
    return "", turn


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return next((block["text"] for block in reversed(content) if block["type"] == "text"), "")
