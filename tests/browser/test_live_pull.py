"""A pull as its operator sees it go on."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from models_registry.fakes.ollama import OllamaServer
from models_registry.models import Pull
from tests.acceptance.conftest import Workers
from tests.browser.conftest import OpenScreen, Server
from tests.services import Valkey
from tests.waiting import eventually

LIST = "/admin/models_registry/pull/"


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[OllamaServer]:
    with OllamaServer(pull_seconds=20) as server:
        settings.OLLAMA_BASE_URL = server.base_url
        monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
        yield server


@pytest.fixture
def pulling(ollama: OllamaServer, fresh_server: Server, valkey: Valkey) -> Iterator[Workers]:
    """Web and workers that know the backend."""
    running = Workers()
    try:
        running.start()
        yield running
    finally:
        running.kill()


def bar(page: Page) -> float:
    """Per cent, as the first bar of the page shows it."""
    value = page.evaluate("document.querySelector('.progress-line progress').value")
    return float(value)


def test_the_bars_live_through_a_refresh_another_browser_and_the_workers_restart(
    pulling: Workers, screen_of: OpenScreen, bob: User
) -> None:
    screen, other = screen_of(bob), screen_of(bob, width=400, height=800, scheme="dark")
    page = screen.page
    page.goto(LIST)
    screen.shot("pulls-empty")
    page.fill("#pull-model", "pull-slow:latest")
    page.click("#pulls button")
    expect(page.locator("h1")).to_have_text("pull-slow:latest")
    expect(page.locator(".pull .liveness")).to_have_text("Live")
    eventually(lambda: bar(page) > 10)
    expect(page.locator("#pull-waits")).to_be_hidden()
    expect(page.locator(".layers li")).to_have_count(1)
    expect(page.locator(".pull-words")).to_contain_text("MB/s")
    screen.shot("pull-live")

    page.reload()
    assert bar(page) > 10
    eventually(lambda: bar(page) > 20)
    other.page.goto(LIST)
    eventually(lambda: bar(other.page) > 25)
    other.shot("pulls-phone-dark")

    assert pulling.stop() == 0
    expect(page.locator(".pull-words")).to_contain_text("waiting for a worker")
    expect(page.locator("#pull-waits")).to_be_visible()
    expect(page.locator(".pull-badge")).to_have_text("queued")
    was = bar(page)
    screen.shot("pull-waits")
    pulling.start()
    eventually(lambda: bar(page) > max(was, 50))
    expect(page.locator(".pull-badge")).to_have_text("completed")
    expect(page.locator(".layers li")).to_have_count(2)
    expect(other.page.locator(".pull-badge")).to_have_text("completed")
    assert Pull.objects.get().percentage == 100
    screen.shot("pull-completed")
    page.goto(LIST)
    screen.shot("pulls-list")


def test_a_pull_is_cancelled_on_its_page(pulling: Workers, screen_of: OpenScreen, bob: User) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(LIST)
    page.fill("#pull-model", "pull-slow:other")
    page.click("#pulls button")
    eventually(lambda: bar(page) > 3)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".pull-badge")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_a_pull_that_fails_says_why(pulling: Workers, screen_of: OpenScreen, bob: User) -> None:
    screen = screen_of(bob)
    page = screen.page
    page.goto(LIST)
    page.fill("#pull-model", "pull-disk-full")
    page.click("#pulls button")
    expect(page.locator(".notice.error")).to_contain_text("Free space")
    screen.shot("pull-failed")
