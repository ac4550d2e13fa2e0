import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import alive, command_line, inside, until
from tests.services import free_port

ROOT = Path(__file__).parents[2]
SLEEP = "import time; time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('deaf', 'w'); {SLEEP}"
POLITE = (
    "import pathlib, signal, sys, time\n"
    "def stop(*_):\n    time.sleep(0.5); pathlib.Path('polite').write_text('said goodbye'); sys.exit()\n"
    f"signal.signal(signal.SIGTERM, stop); open('listens', 'w'); {SLEEP}"
)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def part(name: str, code: str = SLEEP, **values: Any) -> dict[str, Any]:
    return {"part": {"name": name, "command": python(code), **values}}


def step(name: str, code: str, **values: Any) -> dict[str, Any]:
    return {"step": {"name": name, "command": python(code), **values}}


class Stack:
    """A supervisor in a process of its own, over small commands that run in `folder`."""

    def __init__(self, folder: Path, entries: list[dict[str, Any]], output: Path) -> None:
        self.folder = folder
        self._output = output
        with output.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.maintenance.toystack", str(folder), json.dumps(entries)],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def recorded(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return values

    def pid(self, name: str) -> int:
        return int(self.recorded["parts"].get(name, 0))

    def until_ready(self) -> None:
        until(lambda: "Ready" in self.output or self.process.poll() is not None)
        assert "Ready" in self.output, self.output

    def stop(self, *, within: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


Start = Callable[..., Stack]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the stack and its parts run."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts a stack; whatever it leaves behind is killed at the end."""
    stacks: list[Stack] = []

    def started(*entries: dict[str, Any]) -> Stack:
        stacks.append(Stack(folder, list(entries), folder.with_name(f"output-{len(stacks)}")))
        return stacks[-1]

    yield started
    for stack in stacks:
        stack.process.kill()
        stack.process.wait()
    for pid in inside(folder):
        os.kill(pid, signal.SIGKILL)


def test_it_takes_steps_and_starts_parts_in_their_order_and_stops_them_in_the_opposite_one(start: Start) -> None:
    stack = start(part("cellar"), step("stairs", "print('up we go')", shown=True), part("attic"))
    stack.until_ready()
    assert stack.stop() == 0
    words = stack.output.split()
    places = [words.index(word) for word in ("cellar", "stairs", "attic", "Ready", "Stopping")]
    assert places == sorted(places)
    assert "    up we go" in stack.output
    stopped = stack.output[stack.output.index("Stopping") :]
    assert stopped.index("attic") < stopped.index("cellar")
    assert inside(stack.folder) == []


def test_what_a_shown_step_prints_is_in_no_log_file(start: Start) -> None:
    stack = start(step("secret", "print('the password')", shown=True))
    stack.until_ready()
    assert "the password" in stack.output
    assert (stack.folder / "logs" / "secret.log").read_text() == ""


def test_it_is_ready_when_every_part_came_up(start: Start, folder: Path) -> None:
    stack = start(part("prompt"), part("slow", up=f"file:{folder}/up"))
    until(lambda: "prompt        up" in stack.output)
    assert "Ready" not in stack.output
    assert not (folder / "stack.ready").exists()
    (folder / "up").touch()
    stack.until_ready()
    assert (folder / "stack.ready").exists()
    stack.stop()
    assert not (folder / "stack.ready").exists()
    assert not (folder / "stack.json").exists()


def test_a_part_is_up_when_its_address_answers(start: Start) -> None:
    port = free_port()
    server = f"import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
    stack = start(part("site", server, up=f"http://127.0.0.1:{port}/"))
    stack.until_ready()
    assert stack.output.index("site") < stack.output.index("Ready")


def test_a_part_is_up_when_it_has_given_itself_its_title(start: Start, folder: Path) -> None:
    code = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\n"
    title = f"from maintenance.process import title; title('slow: master')\n{SLEEP}"
    stack = start(
        part("slow", f"{code}import sys; sys.path.insert(0, {str(ROOT)!r}); {title}", titled="slow"), part("quick")
    )
    until(lambda: "quick         up" in stack.output)
    assert "slow          up" not in stack.output
    (folder / "go").touch()
    stack.until_ready()


def test_a_part_that_dies_is_started_again(start: Start) -> None:
    stack = start(part("mortal"))
    stack.until_ready()
    first = stack.pid("mortal")
    os.kill(first, signal.SIGKILL)
    until(lambda: stack.pid("mortal") not in {0, first})
    assert "SIGKILL, starts again in 1 s" in stack.output
    until(lambda: stack.output.count("mortal        up") == 2)


def test_a_part_that_keeps_dying_is_started_ever_less_often(start: Start) -> None:
    stack = start(part("hopeless", "raise SystemExit(3)"))
    until(lambda: "exit 3, starts again in 2 s" in stack.output)
    assert "exit 3, starts again in 1 s" in stack.output
    assert "Ready" not in stack.output


def test_a_failed_step_ends_it_and_says_why(start: Start) -> None:
    stack = start(part("first"), step("broken", "raise SystemExit('the disk is full')"), part("never"))
    assert stack.process.wait(30) == 1
    assert "broken failed (exit 1):\nthe disk is full" in stack.output
    assert "never" not in stack.output
    assert inside(stack.folder) == []


def test_a_part_that_must_start_and_does_not_ends_it_and_says_why(start: Start) -> None:
    stack = start(part("other"), part("vital", "raise SystemExit('no such table')", if_it_fails="stop"))
    assert stack.process.wait(30) == 1
    assert "vital did not start (exit 1)" in stack.output
    assert "no such table" in stack.output
    assert inside(stack.folder) == []


def test_it_is_ready_without_a_part_that_it_can_do_without(start: Start) -> None:
    stack = start(part("extra", "raise SystemExit(1)", if_it_fails="go_on"), part("main"))
    stack.until_ready()


def test_it_leaves_out_a_part_whose_package_is_missing(start: Start) -> None:
    stack = start(part("extra", needs=["no_such_package"]), part("main"))
    stack.until_ready()
    assert "not installed: no_such_package" in stack.output
    assert list(stack.recorded["parts"]) == ["main"]


def test_a_taken_port_is_named_with_its_variable_before_anything_starts(start: Start) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = start(part("first"), part("site", up=f"tcp://127.0.0.1:{port}", port_variable="PORT"))
        assert stack.process.wait(30) == 1
    assert f"Port {port} on 127.0.0.1 is taken" in stack.output
    assert f"PORT={port + 1}" in stack.output
    assert "first" not in stack.output


def test_a_part_that_does_not_heed_the_request_to_stop_is_killed(start: Start) -> None:
    stack = start(part("deaf", DEAF, stop_seconds=0.3))
    until(lambda: (stack.folder / "deaf").exists())
    assert stack.stop() == 0
    assert inside(stack.folder) == []


def test_a_second_request_kills_what_is_left(start: Start) -> None:
    stack = start(part("deaf", DEAF, stop_seconds=600))
    until(lambda: (stack.folder / "deaf").exists())
    stack.process.send_signal(signal.SIGINT)
    until(lambda: "Stopping" in stack.output)

    def again() -> bool:
        stack.process.send_signal(signal.SIGINT)
        return stack.process.poll() is not None

    until(again)
    assert inside(stack.folder) == []


def test_a_request_that_arrives_twice_at_once_is_one(start: Start) -> None:
    stack = start(part("polite", POLITE, stop_seconds=30))
    until(lambda: (stack.folder / "listens").exists())
    stack.process.send_signal(signal.SIGTERM)
    until(lambda: "Stopping" in stack.output)
    stack.process.send_signal(signal.SIGTERM)
    stack.process.wait(30)
    assert (stack.folder / "polite").read_text() == "said goodbye"


def test_it_stops_while_a_step_is_under_way(start: Start) -> None:
    stack = start(step("endless", f"open('began', 'w'); {SLEEP}"))
    until(lambda: (stack.folder / "began").exists())
    assert stack.stop() == 0
    assert inside(stack.folder) == []


def test_nothing_outlives_a_supervisor_that_was_killed(start: Start) -> None:
    stack = start({"valkey": True}, part("worker"))
    stack.until_ready()
    assert len(inside(stack.folder)) == 2
    stack.process.kill()
    stack.process.wait()
    until(lambda: inside(stack.folder) == [])


def test_a_second_one_in_the_same_folder_says_who_runs_already(start: Start) -> None:
    first = start(part("worker"))
    first.until_ready()
    second = start(part("worker"))
    assert second.process.wait(30) == 1
    assert f"pid {first.process.pid}, http://toy/" in second.output
    assert alive(first.pid("worker"))


def test_it_starts_again_after_it_was_killed(start: Start) -> None:
    first = start({"valkey": True}, part("worker"))
    first.until_ready()
    first.process.kill()
    first.process.wait()
    start({"valkey": True}, part("worker")).until_ready()


def test_the_password_of_valkey_is_for_its_owner_only(start: Start) -> None:
    stack = start({"valkey": True})
    stack.until_ready()
    configuration = stack.folder / "valkey" / "valkey.conf"
    password = configuration.read_text().split("requirepass ")[1].split()[0]
    assert configuration.stat().st_mode & 0o777 == 0o600
    assert (stack.folder / "stack.json").stat().st_mode & 0o777 == 0o600
    assert password not in command_line(stack.pid("valkey"))
    assert password not in stack.output


@pytest.mark.parametrize(
    ("damage", "said"),
    [(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nb", ""), (b"\0" * 200 + b"rubbish\r\n" * 50, "set aside as damaged-")],
)
def test_valkey_starts_on_data_that_a_crash_has_spoilt(start: Start, damage: bytes, said: str) -> None:
    stack = start({"valkey": True})
    stack.until_ready()
    stack.stop()
    appended = next((stack.folder / "valkey" / "appendonlydir").glob("*.incr.aof"))
    appended.write_bytes(appended.read_bytes() + damage)
    again = start({"valkey": True})
    again.until_ready()
    assert said in again.output
    assert bool(list((stack.folder / "valkey").glob("damaged-*"))) is bool(said)
