"""The environment of a benchmark's private server, made when this module is loaded, and Django loaded with it.

Import it before anything that needs Django's models. The data folder is a temporary one; the database is SQLite in it,
or what `DATABASE_URL` names, which should be an empty database. The driver of the queues is `database`, or `redis`
where the command line says `--redis`.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import django

from maintenance.stack.ports import free_port
from maintenance.stack.valkey import valkey as valkey_in

folder = Path(tempfile.mkdtemp(prefix="cw-benchmark-"))
_owner = os.getpid()


def _remove() -> None:
    if os.getpid() == _owner:
        shutil.rmtree(folder, ignore_errors=True)


atexit.register(_remove)

port = free_port()
model_port = free_port()
model_url = f"http://127.0.0.1:{model_port}/v1"
valkey = valkey_in(folder)

for name in ("EMBEDDED_MODEL_URL", "OPENAI_API_KEY", "DEFAULT_BACKEND", "FAKE_BACKEND"):
    os.environ.pop(name, None)
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "chinese_worker.settings",
    "DATA_DIR": str(folder),
    "SECRET_KEY": "a benchmark's own",
    "PORT": str(port),
    "OPENAI_BASE_URL": model_url,
    "OPENAI_MODEL": "stub",
    "TITLES": "off",
    "QUEUE_CONNECTION": "redis" if "--redis" in sys.argv else "database",
    # One user asks for everything here, and much more often than anybody should.
    "THROTTLE_RUNS": "1000000/min",
    "THROTTLE_USER": "1000000/min",
    "STREAMS_PER_USER": "1000",
    **valkey.gives,
}
(folder / "static").mkdir()  # which collectstatic makes; whitenoise warns where it is missing
django.setup()
