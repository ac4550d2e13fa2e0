"""What stands in deploy/, and the line that `manage.py crontab add` installs: run for real where that can be done."""

import configparser
import http.client
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from maintenance.models import Job, ScheduleSlot
from tests.acceptance.conftest import _family, database_url
from tests.processes import alive, command_line, until
from tests.services import Valkey, free_port
from tests.source import ROOT
from tests.test_documents import documented_variables

pytestmark = pytest.mark.acceptance

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
HOME_OF_TEMPLATES = "/srv/chinese-worker"
ENVIRONMENT_OF_TEMPLATES = "/etc/chinese-worker/env"
# Longer than the longest turn, with what a worker needs beside it.
LONGEST_SECONDS = 340


@pytest.fixture
def environment_file(tmp_path: Path, transactional_db: None, valkey: Valkey) -> Path:
    """As an operator fills it: how to reach this test's servers."""
    path = tmp_path / "env"
    lines = {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL, "DATA_DIR": str(tmp_path / "data")}
    path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    return path


def placed(text: str, environment_file: Path, port: int = 8000) -> str:
    """A template as it would read on this machine."""
    python = f"{HOME_OF_TEMPLATES}/.venv/bin/python"
    for old, new in {
        python: sys.executable,
        " .venv/bin/python": f" {sys.executable}",
        HOME_OF_TEMPLATES: str(ROOT),
        ENVIRONMENT_OF_TEMPLATES: str(environment_file),
        "--port 8000": f"--port {port}",
    }.items():
        text = text.replace(old, new)
    return text


def read(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def bare(home: Path, **variables: str) -> dict[str, str]:
    """The environment that cron gives: next to nothing."""
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "nobody", **variables}


def answers(port: int, path: str = "/health/live") -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def master_of(pid: int) -> bool:
    return any(command_line(one).startswith("runworkers: master") for one in _family(pid) if alive(one))


def working(pid: int) -> bool:
    return master_of(pid) and any(command_line(one).startswith("rqworker: low") for one in _family(pid) if alive(one))


class Started:
    """Command lines that were started, in the order of their start."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], environment: Mapping[str, str], folder: Path = ROOT) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=dict(environment), cwd=folder)
        self.processes.append(process)
        return process


@pytest.fixture
def started() -> Iterator[Started]:
    made = Started()
    yield made
    for process in made.processes:
        for pid in _family(process.pid)[::-1]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)


def assert_it_serves_and_stops(role: str, process: subprocess.Popen[bytes], port: int) -> None:
    until(lambda: process.poll() is not None or (answers(port) if role == "web" else working(process.pid)), seconds=60)
    assert process.poll() is None
    family = _family(process.pid)
    process.terminate()
    assert process.wait(30) in (0, -signal.SIGTERM)
    until(lambda: not any(alive(pid) for pid in family))


# systemd


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_lets_what_runs_finish_and_always_comes_back(unit: Path) -> None:
    service = read(unit.read_text())["Service"]
    assert (service["KillMode"], service["Restart"], service["Type"]) == ("mixed", "always", "exec")
    assert service["EnvironmentFile"] == f"-{ENVIRONMENT_OF_TEMPLATES}"
    if "workers" in unit.stem:
        assert int(service["TimeoutStopSec"]) > LONGEST_SECONDS


def test_the_workers_are_given_longer_than_they_take_to_drain() -> None:
    documented = documented_variables()["WORKERS_DRAIN_SECONDS"]
    assert int(documented.strip("`")) == LONGEST_SECONDS
    longest = max(pool.timeout for pool in settings.WORKER_POOLS.values())
    assert longest < timedelta(seconds=LONGEST_SECONDS)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name
    copy.write_text(placed(unit.read_text(), tmp_path / "env"))
    said = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    about_it = [line for line in (said.stdout + said.stderr).splitlines() if unit.name in line]
    assert about_it == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_a_unit_starts_serves_and_stops(unit: Path, environment_file: Path, started: Started) -> None:
    port = free_port()
    service = read(placed(unit.read_text(), environment_file, port))["Service"]
    lines = environment_file.read_text().splitlines()
    given = dict(line.split("=", 1) for line in [*lines, service["Environment"], "AI_WORKERS_PROCESSES=1"])
    process = started.start(shlex.split(service["ExecStart"]), bare(environment_file.parent, **given))
    assert_it_serves_and_stops("web" if "web" in unit.stem else "workers", process, port)


# Supervisor


def programs(environment_file: Path, port: int = 8000) -> dict[str, configparser.SectionProxy]:
    parsed = read(placed((DEPLOY / "supervisor/chinese-worker.conf").read_text(), environment_file, port))
    return {name.removeprefix("program:chinese-worker-"): parsed[name] for name in parsed.sections()}


def test_supervisor_lets_the_workers_finish_and_starts_them_again(tmp_path: Path) -> None:
    found = programs(tmp_path / "env")
    assert set(found) == {"web", "workers"}
    for program in found.values():
        assert (program["autorestart"], program["stopsignal"], program["killasgroup"]) == ("true", "TERM", "true")
        assert "stopasgroup" not in program
    assert int(found["workers"]["stopwaitsecs"]) > LONGEST_SECONDS


@pytest.mark.parametrize("role", ["web", "workers"])
def test_what_supervisor_starts_serves_and_stops(role: str, environment_file: Path, started: Started) -> None:
    port = free_port()
    with environment_file.open("a") as file:
        file.write("AI_WORKERS_PROCESSES=1\n")
    program = programs(environment_file, port)[role]
    process = started.start(shlex.split(program["command"]), bare(environment_file.parent))
    assert_it_serves_and_stops(role, process, port)


def test_supervisor_itself_starts_and_stops_both(environment_file: Path, tmp_path: Path, started: Started) -> None:
    supervisord = shutil.which("supervisord")
    if not supervisord:
        pytest.skip("supervisor is not installed")
    port = free_port()
    text = placed((DEPLOY / "supervisor/chinese-worker.conf").read_text(), environment_file, port)
    text = re.sub(r"^user=.*\n", "", text, flags=re.MULTILINE).replace(f"{ROOT}/var/logs", str(tmp_path))
    head = f"[supervisord]\nnodaemon=true\nlogfile={tmp_path}/supervisord.log\npidfile={tmp_path}/supervisord.pid\n"
    (tmp_path / "supervisord.conf").write_text(head + text)
    process = started.start([supervisord, "-n", "-c", str(tmp_path / "supervisord.conf")], bare(tmp_path))
    until(lambda: answers(port) and working(process.pid), seconds=90)
    family = _family(process.pid)
    process.terminate()
    assert process.wait(40) == 0
    until(lambda: not any(alive(pid) for pid in family))


# nginx


def test_nginx_holds_no_event_back() -> None:
    site = re.sub(r"#.*", "", (DEPLOY / "nginx/chinese-worker.conf").read_text())
    for directive in ("proxy_buffering off", "gzip off", "proxy_http_version 1.1", 'proxy_set_header Connection ""'):
        assert f"{directive};" in site
    assert re.search(r"proxy_read_timeout 1h;", site)
    largest = re.search(r"client_max_body_size (\d+)m;", site)
    assert largest
    assert int(largest[1]) * 1024 * 1024 > settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def test_nginx_finds_nothing_wrong_with_the_site(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not nginx or not shutil.which("openssl"):
        pytest.skip("nginx or openssl is not installed")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=agents.example.org", "-days", "1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    site = (DEPLOY / "nginx/chinese-worker.conf").read_text()
    site = re.sub(r"ssl_certificate .*;", f"ssl_certificate {certificate};", site)
    site = re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {key};", site)
    site = re.sub(r"listen (\[::\]:)?(80|443)", lambda found: f"listen {found[1] or ''}{free_port()}", site)
    places = "".join(
        f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\nhttp {{ access_log off; {places}\n{site} }}\n"
    )
    said = subprocess.run([nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


# Variables


def offered() -> dict[str, str]:
    lines = (DEPLOY / "env.example").read_text().splitlines()
    found = [re.fullmatch(r"#([A-Z_]+)=(.*)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def test_every_variable_is_offered_with_its_default() -> None:
    documented = {
        name: value.split("`")[1] if value.startswith("`") and value.endswith("`") else ""
        for name, value in documented_variables().items()
    }
    without = set(
        re.findall(r"^\| `(\w+)`", _sections("Set by the stack", "Without effect in this version"), re.MULTILINE)
    )
    expected = {name: value for name, value in documented.items() if name not in without}
    if "/" in expected["STATIC_ROOT"]:
        expected["STATIC_ROOT"] = ""  # its default follows another variable
    assert {name: value.strip('"') for name, value in offered().items()} == expected


def _sections(*headings: str) -> str:
    text = (ROOT / "docs/configuration.md").read_text()
    return "".join(text.partition(f"## {heading}\n")[2].partition("\n## ")[0] for heading in headings)


def as_systemd_reads(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value.strip('"') for name, value in (line.split("=", 1) for line in lines)}


def as_a_shell_reads(path: Path) -> dict[str, str]:
    script = f"set -a; . {shlex.quote(str(path))}; env -0"
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert said.returncode == 0, said.stderr
    found = dict(line.split("=", 1) for line in said.stdout.split("\0") if line)
    return {name: value for name, value in found.items() if name not in {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}}


@pytest.mark.parametrize("uncommented", [False, True])
def test_the_example_of_variables_is_good_for_systemd_and_for_a_shell(tmp_path: Path, uncommented: bool) -> None:
    text = (DEPLOY / "env.example").read_text()
    path = tmp_path / "env"
    path.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE) if uncommented else text)
    read_by_shell = as_a_shell_reads(path)
    assert read_by_shell == as_systemd_reads(path)
    assert set(read_by_shell) == (set(offered()) if uncommented else set())
    environment = bare(tmp_path, **{**read_by_shell, "DATA_DIR": str(tmp_path / "data")})
    said = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr


# cron


CRONTAB = """#!/bin/sh
# Keeps one crontab in a file, as the real one does for its user.
kept="$HOME/kept"
case "$1" in
    -l) cat "$kept" 2>/dev/null || { echo "no crontab for nobody" >&2; exit 1; } ;;
    *) cp "$1" "$kept" ;;
esac
"""
FOREIGN = "0 5 * * * backup # nightly\n"


class Cron:
    """A host with a `crontab` program; `manage` is an operator's shell there."""

    def __init__(self, home: Path, environment_file: Path) -> None:
        self.home = home
        self.environment_file = environment_file
        self.kept = home / "kept"
        self.kept.write_text(FOREIGN)
        program = home / "bin/crontab"
        program.parent.mkdir()
        program.write_text(CRONTAB)
        program.chmod(0o755)

    def manage(self, *command: str, path: str = "") -> subprocess.CompletedProcess[str]:
        variables = {"PATH": path or f"{self.home}/bin:/usr/bin:/bin", "ENV_FILE": str(self.environment_file)}
        environment = {**bare(self.home), **as_systemd_reads(self.environment_file), **variables}
        return subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    @property
    def lines(self) -> list[str]:
        """Ours."""
        return [line for line in self.kept.read_text().splitlines() if line != FOREIGN.strip()]

    def fire(self, line: str) -> subprocess.CompletedProcess[str]:
        """What cron does when the minute of a line has come."""
        when, command = line.split(None, 5)[:5], line.split(None, 5)[5]
        assert when == ["*"] * 5
        assert "%" not in command  # to cron, the end of the line
        environment = [f"{name}={value}" for name, value in bare(self.home).items()]
        return subprocess.run(
            ["env", "-i", *environment, "/bin/sh", "-c", command], cwd=self.home, capture_output=True, text=True
        )


@pytest.fixture
def cron(environment_file: Path, tmp_path: Path) -> Cron:
    return Cron(tmp_path, environment_file)


@pytest.fixture
def overdue(transactional_db: None) -> None:
    """The server was down for two nights: one clean-up is to be made up for."""
    night = timezone.now().replace(hour=2, minute=0, second=0, microsecond=0) - timedelta(days=3)
    ScheduleSlot.objects.create(task="clean_temporary_files", due_at=night, result="fired", fired_by="leader")


def assert_it_was_made_up_for_once() -> None:
    assert Job.objects.filter(name="clean_temporary_files", tags=["schedule:clean_temporary_files"]).count() == 1
    newest = ScheduleSlot.objects.filter(task="clean_temporary_files").first()
    assert newest
    assert (newest.result, newest.fired_by) == ("fired", "cron")


def test_the_installed_line_fires_the_schedule_with_next_to_no_environment(cron: Cron, overdue: None) -> None:
    assert cron.manage("crontab", "add").returncode == 0
    (line,) = cron.lines
    said = cron.fire(line)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert_it_was_made_up_for_once()


def test_the_line_of_deploy_fires_the_schedule_with_next_to_no_environment(cron: Cron, overdue: None) -> None:
    (line,) = [line for line in (DEPLOY / "crontab").read_text().splitlines() if not line.startswith("#")]
    said = cron.fire(placed(line, cron.environment_file))
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert_it_was_made_up_for_once()


def test_several_processes_at_once_fire_a_slot_once(cron: Cron, overdue: None) -> None:
    environment = bare(cron.home, **as_systemd_reads(cron.environment_file))
    command = [sys.executable, "manage.py", "schedule_run"]
    running = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert_it_was_made_up_for_once()


def test_the_line_is_installed_once_shown_and_removed(cron: Cron) -> None:
    for _ in range(2):
        added = cron.manage("crontab", "add")
        assert (added.returncode, added.stdout.splitlines()) == (0, cron.lines)
    assert len(cron.lines) == 1
    assert cron.manage("crontab", "show").stdout.splitlines() == cron.lines
    assert cron.manage("crontab", "remove").returncode == 0
    assert cron.kept.read_text() == FOREIGN
    assert "Nothing" in cron.manage("crontab", "show").stdout


@pytest.mark.parametrize("subcommand", ["add", "remove", "show"])
def test_a_line_of_an_older_version_is_no_obstacle(cron: Cron, subcommand: str) -> None:
    # django-crontab's own command breaks off here, unless it is told to be quiet.
    cron.manage("crontab", "add")
    cron.kept.write_text(re.sub(r"(crontab run) \w+", r"\1 0123456789abcdef0123456789abcdef", cron.kept.read_text()))
    said = cron.manage("crontab", subcommand)
    assert said.returncode == 0, said.stderr
    assert len(cron.lines) == (0 if subcommand == "remove" else 1)
    assert FOREIGN in cron.kept.read_text()


def test_it_says_so_where_there_is_no_cron(cron: Cron, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = cron.manage("crontab", "add", path=str(tmp_path / "empty"))
    assert said.returncode == 1
    assert "cron is not installed" in said.stderr


def test_it_says_so_where_the_crontab_cannot_be_changed(cron: Cron) -> None:
    (cron.home / "bin/crontab").write_text(CRONTAB.replace('cp "$1" "$kept"', 'echo "you may not" >&2; exit 1'))
    said = cron.manage("crontab", "add")
    assert said.returncode == 1
    assert "you may not" in said.stderr
    assert "could not be changed" in said.stderr
