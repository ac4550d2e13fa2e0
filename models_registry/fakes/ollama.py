"""A server that speaks Ollama's own API. It refuses what the real one refuses; the model's name chooses what it does.

Besides the scripts of `ollama_chat` and `ollama_pulls`: `slow-load` answers nothing until it is loaded, which takes
`load_seconds` and ends when nobody waits for it; `pull-slow` takes `pull_seconds`, or what its tag says, as in
`pull-slow:30s`; it is shared by all who pull it, and goes on from where it was. `pull-stubborn` is like it, but its
download goes on when nobody waits for it.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from models_registry.fakes import ollama_chat, ollama_pulls, ollama_rules
from models_registry.fakes.http import Play, Received, Script, Server, document, head
from models_registry.fakes.ollama_chat import refusal
from models_registry.fakes.ollama_memory import Memory
from models_registry.fakes.ollama_pulls import Download

VERSION = "0.12.11"
CONTEXT_TOKENS = 8192
SLOW_LOAD = "slow-load"
SLOW_PULL, STUBBORN_PULL = "pull-slow", "pull-stubborn"
THINKING = "thinking"
EMPTY = [head(200, {"content-length": "0"})]
Handler = Callable[[Mapping[str, Any]], Script | Play]


class OllamaServer(Server):
    """The scripts above, and those that are put into `scripts` or `pull_scripts` under other names.

    `tags_script` and `load_script` replace the list of models and the answer to a load where they are set; `shown`
    holds values to answer about a model instead.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: int = 20,
        delay_seconds: float = 0.02,
        load_seconds: float = 1.0,
        pull_seconds: float = 2.0,
    ) -> None:
        super().__init__(self._choose, host=host, port=port)
        self.scripts: dict[str, Script] = ollama_chat.scripts(tokens, delay_seconds)
        self.scripts[SLOW_LOAD] = self.scripts["stub"]
        self.pull_scripts: dict[str, Script] = ollama_pulls.scripts()
        self.tags_script: Script | None = None
        self.load_script: Script | None = None
        self.shown: dict[str, Mapping[str, Any]] = {}
        self.load_seconds = load_seconds
        self.pull_seconds = pull_seconds
        self.downloads: dict[str, Download] = {}
        self._pulled: set[str] = set()
        self._deleted: set[str] = set()
        self.memory = Memory(name for name in self.scripts if name != SLOW_LOAD)
        self._routes: dict[tuple[str, str], Handler] = {
            ("HEAD", "/"): lambda body: EMPTY,
            ("GET", "/api/version"): lambda body: document(200, {"version": VERSION}),
            ("GET", "/api/tags"): self._tags,
            ("GET", "/api/ps"): self._ps,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/chat"): self._chat,
            ("POST", "/api/pull"): self._pull,
            ("DELETE", "/api/delete"): self._delete,
        }

    @property
    def base_url(self) -> str:
        return self.url

    @property
    def installed(self) -> Iterable[str]:
        return sorted((self.scripts.keys() | self._pulled) - self._deleted)

    def _choose(self, received: Received) -> Script | Play:
        route = self._routes.get((received.method, received.path))
        if route is None:
            return [head(404, {"content-type": "text/plain", "content-length": "18"}) + b"404 page not found"]
        if received.method != "GET" and not (isinstance(received.body, dict) and received.body.get("model")):
            return refusal(400, "missing request body" if received.body is None else "model is required")
        return route(received.body or {})

    def _tags(self, body: Mapping[str, Any]) -> Script:
        return self.tags_script or document(200, {"models": [_entry(name) for name in self.installed]})

    def _ps(self, body: Mapping[str, Any]) -> Script:
        told = {name: window for name, window in self.memory.windows.items() if name in self.installed}
        windows = {name: {"context_length": window} if window else {} for name, window in told.items()}
        return document(200, {"models": [_entry(name) | windows[name] for name in windows]})

    def _show(self, body: Mapping[str, Any]) -> Script:
        name = _key(body["model"])
        if name not in self.installed:
            return _not_found(body)
        info = {"general.architecture": "llama", "llama.context_length": CONTEXT_TOKENS, "tokens": []}
        capabilities = ["completion", "tools", "vision", *([THINKING] if name == THINKING else [])]
        shown = {"details": _details(), "model_info": info, "capabilities": capabilities}
        return document(200, {**shown, **self.shown.get(name, {})})

    def _chat(self, body: Mapping[str, Any]) -> Script | Play:
        name = _key(body["model"])
        if name not in self.installed:
            return _not_found(body)
        if fault := ollama_rules.broken(body, thinks=name == THINKING):
            return refusal(*fault)
        if body["messages"]:
            return self._once_loaded(name, body, self.scripts.get(name, self.scripts["stub"]))
        if body.get("keep_alive") == 0:
            self.memory.windows.pop(name, None)
            return _done(body, "unload")
        return self.load_script or self._once_loaded(name, body, _done(body, "load"))

    def _once_loaded(self, name: str, body: Mapping[str, Any], then: Script) -> Script | Play:
        window = body.get("options", {}).get("num_ctx", CONTEXT_TOKENS)
        if name == SLOW_LOAD:
            return self._after_load(name, window, then)
        self.memory.windows[name] = window
        return then

    def _after_load(self, name: str, window: int, then: Script) -> Play:
        yield from self.memory.load(name, window, self.load_seconds)
        yield from then

    def _pull(self, body: Mapping[str, Any]) -> Script | Play:
        name = _key(body["model"])
        kind = name.partition(":")[0]
        if kind in (SLOW_PULL, STUBBORN_PULL):
            made = Download(self._pull_seconds(name), stubborn=kind == STUBBORN_PULL)
            download = self.downloads.setdefault(name, made)
            return ollama_pulls.shared(download, lambda: self._install(name))
        known = "pull-cached" if name in self.installed and name not in self.pull_scripts else name
        script = self.pull_scripts.get(known, self.pull_scripts["pull-unknown"])
        if any(isinstance(move, bytes) and b'"success"' in move for move in script):
            self._install(name)
        return script

    def _pull_seconds(self, name: str) -> float:
        told = re.fullmatch(r".*:(\d{1,4})s", name)
        return float(told[1]) if told else self.pull_seconds

    def _install(self, name: str) -> None:
        self._deleted.discard(name)
        self._pulled.add(name)

    def _delete(self, body: Mapping[str, Any]) -> Script:
        name = _key(body["model"])
        if name not in self.installed:
            return _not_found(body)
        self._deleted.add(name)
        self.downloads.pop(name, None)
        self.memory.windows.pop(name, None)
        return EMPTY


def _key(name: str) -> str:
    return name.lower().removesuffix(":latest")


def _not_found(body: Mapping[str, Any]) -> Script:
    return refusal(404, f"model '{body['model']}' not found")


def _done(body: Mapping[str, Any], reason: str) -> Script:
    message = {"role": "assistant", "content": ""}
    return document(200, {"model": body["model"], "message": message, "done": True, "done_reason": reason})


def _entry(name: str) -> dict[str, Any]:
    full = name if ":" in name else f"{name}:latest"
    return {
        "name": full,
        "model": full,
        "modified_at": "2026-01-02T03:04:05.123456789+01:00",
        "size": ollama_pulls.LARGE_BYTES,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": _details(),
    }


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "8.0B",
        "quantization_level": "Q4_K_M",
    }
