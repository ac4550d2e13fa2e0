import signal
import subprocess
import sys
import time
from pathlib import Path

CHILD = "import os; from maintenance.process import die_with_parent; die_with_parent({parent}); {then}"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_dies_when_its_parent_is_killed() -> None:
    child = CHILD.format(parent="os.getppid()", then="print(os.getpid(), flush=True); import time; time.sleep(60)")
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.01)


def test_it_dies_at_once_when_its_parent_was_gone_before_it_asked() -> None:
    process = subprocess.run(
        [sys.executable, "-c", CHILD.format(parent=1, then="print('still here')")], capture_output=True
    )
    assert process.returncode == -signal.SIGKILL
    assert process.stdout == b""


def test_ps_shows_the_title() -> None:
    code = "from maintenance.process import title; title('a title'); print(open('/proc/self/cmdline').read())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.startswith("a title")
