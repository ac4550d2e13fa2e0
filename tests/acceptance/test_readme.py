"""What a newcomer pastes from the README."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.test_runstack import Installation
from tests.source import ROOT

pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")]
PASSWORD = "correct-horse-battery"


def pasted(port: int) -> str:
    """The shell lines under “A conversation by hand”, with this server's port and password."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"## A conversation by hand\n.*?```bash\n(.*?)```", text, re.DOTALL)
    assert block
    lines = re.sub(r"^PASSWORD=.*$", f"PASSWORD='{PASSWORD}'", block[1], flags=re.MULTILINE)
    return lines.replace("127.0.0.1:8000", f"127.0.0.1:{port}")


def test_the_lines_of_the_readme_lead_to_an_answer(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    try:
        installation.run_until_ready(FAKE_BACKEND="1", DJANGO_SUPERUSER_PASSWORD=PASSWORD)
        said = subprocess.run(
            ["bash", "-e", "-c", pasted(installation.port)],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"]},
        )
    finally:
        for process in installation.started:
            process.terminate()
            process.wait(30)
    assert said.returncode == 0, said.stderr
    assert '"status":"processing"' in said.stdout
    # A run that has ended by now is told by its end alone, with the whole answer in it.
    end = said.stdout.partition("event: completed")[2]
    assert '"role":"assistant"' in end
    assert '"content":"What is the capital of France?"' in end
