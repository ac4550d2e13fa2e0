"""A real server, real workers, and Chromium in front of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, override_settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.acceptance.conftest import ROOT, Workers, database_url
from tests.console.conftest import failed_job
from tests.console.test_static import MANIFEST
from tests.services import Valkey, free_port
from tests.waiting import eventually

__all__ = ["failed_job"]

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
OUTPUT = ROOT / "test-output" / "console"
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here drive Chromium."""
    missing = pytest.mark.skip(reason=f"no Chromium at {CHROMIUM}: apt-get install chromium, or run .ci/run")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if shutil.which(CHROMIUM) is None:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def static_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files as a server in production has them: collected, with hashed names."""
    folder = tmp_path_factory.mktemp("static")
    with override_settings(STATIC_ROOT=folder, STORAGES=MANIFEST):
        call_command("collectstatic", "--noinput", verbosity=0)
    return folder


def environment_of_the_test() -> dict[str, str]:
    """For processes that use the same database and Valkey."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
    }


class Server:
    """uvicorn with the ASGI application; `stop` and `start` keep the port, as a restart does."""

    def __init__(self, static_root: Path) -> None:
        self.port = free_port()
        self.static_root = static_root
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {**environment_of_the_test(), "STATIC_ROOT": str(self.static_root)}
        command = [
            sys.executable, "-m", "uvicorn", "chinese_worker.asgi:application", "--port", str(self.port),
            "--timeout-graceful-shutdown", "1", "--log-level", "warning",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, env=environment, cwd=ROOT)
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/health/live", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(15)
            self.process = None


@pytest.fixture(scope="module")
def running_server(django_db_setup: None, django_db_blocker: DjangoDbBlocker, static_root: Path) -> Iterator[Server]:
    running = Server(static_root)
    try:
        with django_db_blocker.unblock():
            running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def running_workers(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Workers]:
    running = Workers()
    try:
        with django_db_blocker.unblock():
            running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
def server(running_server: Server, valkey: Valkey, transactional_db: None) -> Server:
    """Started once for the tests of a file, on the database and the Valkey that each of them finds empty."""
    return running_server


@pytest.fixture
def fresh_server(server: Server) -> Server:
    """Started anew: it has not learnt the content types of a test before, which are numbered anew for each."""
    server.stop()
    server.start()
    return server


@pytest.fixture
def workers(running_workers: Workers, valkey: Valkey, transactional_db: None) -> Workers:
    return running_workers


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Playwright keeps an event loop in this thread, which Django takes for a reason to refuse the database.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            yield running
            running.close()


@dataclass
class Screen:
    """A page of somebody who is signed in, and what its console complained about."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def shot(self, name: str) -> None:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=OUTPUT / f"{name}.png")

    def listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")


OpenScreen = Callable[..., Screen]


@pytest.fixture
def screen_of(browser: Browser, server: Server) -> Iterator[OpenScreen]:
    """Opens a browser for a user; at the end, no page may have complained in its console."""
    screens: list[Screen] = []

    def open_screen(user: User, *, width: int = 1400, height: int = 900, scheme: str = "light") -> Screen:
        context = browser.new_context(
            base_url=server.url, viewport={"width": width, "height": height}, color_scheme=scheme,  # type: ignore[arg-type]
            has_touch=width < 500,
        )  # fmt: skip
        context.set_default_timeout(PATIENCE_MS)
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": server.url}])
        screen = Screen(context.new_page(), context)
        screen.page.on("console", screen.listen)
        screen.page.on("pageerror", lambda error: screen.complaints.append(str(error)))
        screens.append(screen)
        return screen

    yield open_screen
    for screen in screens:
        screen.context.close()
    assert [complaint for screen in screens for complaint in screen.complaints] == []
