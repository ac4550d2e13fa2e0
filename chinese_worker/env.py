"""Reading the environment: one helper a type, and the running stack's own values as a fallback.

`make run` writes `stack.json` into the data folder. A command run from the checkout without any variable
reads its values from there, so that it talks to the stack that is running.
"""

import fcntl
import json
import os
import secrets
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DATA_DIR") or BASE_DIR / "var").resolve()
STACK_FILE = DATA_DIR / "stack.json"
STACK_LOCK = DATA_DIR / "runstack.lock"


def _stack_runs() -> bool:
    # A stack that was killed leaves its file behind, but nobody holds its lock any more.
    try:
        with STACK_LOCK.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _stack_values() -> dict[str, str]:
    if not _stack_runs():
        return {}
    try:
        values = json.loads(STACK_FILE.read_text())["environment"]
    except (OSError, ValueError, KeyError):
        return {}
    return {str(name): str(value) for name, value in values.items()}


_STACK = _stack_values()


def text(name: str, default: str = "") -> str:
    """The variable's value; an empty one counts as not set."""
    return os.environ.get(name) or _STACK.get(name) or default


def flag(name: str, default: bool = False) -> bool:
    """`1`, `true`, `yes` or `on`, in any case, is true; anything else that is set is false."""
    value = text(name)
    return value.lower() in {"1", "true", "yes", "on"} if value else default


def number(name: str, default: int) -> int:
    """A whole number. Raises ValueError that names the variable."""
    value = text(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name} must be a whole number, not {value!r}") from None


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list; blanks around and between are dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def shell_prefix() -> str:
    """What a line of cron, which has next to no environment, must begin with: `DATA_DIR`, and the file `ENV_FILE`."""
    folder = [f"export DATA_DIR={shlex.quote(str(DATA_DIR))};"] if os.environ.get("DATA_DIR") else []
    path = os.environ.get("ENV_FILE", "")
    return " ".join([*folder, *([f"set -a; . {shlex.quote(path)}; set +a;"] if path else [])])


def secret_key() -> str:
    """`SECRET_KEY`, or one made once and kept in the data folder, readable by its owner only."""
    if given := text("SECRET_KEY"):
        return given
    path = DATA_DIR / "secret_key"
    if not path.exists():
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        _write_private(path, secrets.token_urlsafe(50))
    return path.read_text().strip()


def _write_private(path: Path, content: str) -> None:
    # Two processes may start at once: whoever links first wins, the other reads the winner's key.
    draft = path.with_suffix(f".{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(content)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def redis_url() -> str:
    """`REDIS_URL`, or one built from `REDIS_HOST`, `REDIS_PORT`, `REDIS_PASSWORD` and `REDIS_DB`."""
    if os.environ.get("REDIS_URL"):
        return os.environ["REDIS_URL"]
    if os.environ.get("REDIS_HOST"):
        password = os.environ.get("REDIS_PASSWORD", "")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{login}{os.environ['REDIS_HOST']}:{number('REDIS_PORT', 6379)}/{number('REDIS_DB', 0)}"
    return text("REDIS_URL", "redis://127.0.0.1:6379/0")


def database() -> dict[str, Any]:
    """Django's settings for `DATABASE_URL`; without it, SQLite in the data folder."""
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    url = text("DATABASE_URL") or f"sqlite:///{DATA_DIR / 'db.sqlite3'}"
    config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=600))
    if config["ENGINE"].endswith("sqlite3"):
        # IMMEDIATE takes the write lock at BEGIN, so that two writers wait for each other instead of failing.
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
        }
    return config
