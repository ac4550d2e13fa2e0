from pathlib import Path

import pytest

from maintenance.stack import logfiles, ports
from maintenance.stack.logfiles import LogFile
from maintenance.stack.ports import free_port, hold


def test_a_free_port_is_none_that_an_outgoing_connection_could_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_says = tmp_path / "ip_local_port_range"
    kernel_says.write_text("20000\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", kernel_says)
    assert all(10_000 <= free_port() < 20_000 for _ in range(50))


def test_a_held_port_is_not_given_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with hold("127.0.0.1", port) as held:
        held.listen()
        with pytest.raises(OSError, match="in use"):
            hold("127.0.0.1", port)


def test_a_log_file_shows_what_the_newest_process_wrote(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "a part")
    with log.open() as file:
        file.write(b"of old\n")
    with log.open() as file:
        file.write(b"one\ntwo\n")
    assert log.since_opened() == ["one", "two"]
    assert log.path.name == "a-part.log"


def test_a_full_log_file_is_moved_aside_while_its_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "MAX_BYTES", 10)
    log = LogFile(tmp_path, "part")
    with log.open() as file:
        file.write(b"more than ten bytes\n")
        file.flush()
        log.trim()
        file.write(b"next\n")
    assert log.path.read_text() == "next\n"
    assert (tmp_path / "part.log.1").read_text() == "more than ten bytes\n"
