"""The model that is shipped, in a process of its own."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import until
from tests.services import free_port

ROOT = Path(__file__).parents[1]


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


@contextmanager
def model_server(data: Path, **environment: str) -> Iterator[str]:
    """The address of the server with the model, with an empty folder for data; skips the test where there is none."""
    pytest.importorskip("xllamacpp", reason="no embedded model on this machine")
    url = f"http://127.0.0.1:{free_port()}"
    own = {"EMBEDDED_MODEL_URL": f"{url}/v1", "DJANGO_SETTINGS_MODULE": "chinese_worker.settings"}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "modelserver"],
        cwd=ROOT,
        env={**os.environ, **own, "DATA_DIR": str(data), **environment},
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _is_up(url) or process.poll() is not None)
        assert process.poll() is None, "the model server did not start"
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _is_up(url: str) -> bool:
    try:
        return bool(read(f"{url}/health"))
    except OSError:
        return False
