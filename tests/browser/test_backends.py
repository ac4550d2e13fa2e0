"""A backend is added, its connection tested, its models looked at; its key never comes back."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from maintenance.models import AuditEntry
from models_registry import catalog, sync
from models_registry.fakes.ollama import OllamaServer
from models_registry.models import BackendRecord, Model
from tests.browser.conftest import OpenScreen, Server

KEY = "sk-planted-key-6491"
PAGE = "/admin/models_registry/backendrecord/"


@pytest.fixture
def ollama() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


def add(page: Page, server: OllamaServer) -> None:
    page.goto(PAGE)
    page.click("text=Add backend")
    page.fill("#id_name", "workshop")
    page.select_option("#id_driver", "ollama")
    page.fill("#id_base_url", server.url)
    page.fill("#id_key", KEY)
    page.click("input[name=_save]")
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")


def test_a_backend_is_added_and_tested_and_its_key_stays_inside(
    screen_of: OpenScreen, fresh_server: Server, bob: User, ollama: OllamaServer
) -> None:
    screen = screen_of(bob)
    page = screen.page
    add(page, ollama)
    line = page.locator("tr", has_text="workshop")
    expect(line.locator(".badge")).to_have_text("available")
    line.locator("button:has-text('Test connection')").click()
    expect(page.locator(".messagelist")).to_contain_text("The backend workshop is available and lists")
    screen.shot("backends")
    page.click("th >> text=workshop")
    expect(page.locator(".field-key .help")).to_contain_text("A key is stored.")
    assert page.input_value("#id_key") == ""
    assert KEY not in page.content()
    screen.shot("backend")
    page.fill("#id_base_url", f"http://someone:{KEY}@127.0.0.1:9")
    page.click("input[name=_save]")
    expect(page.locator(".field-base_url .errorlist")).to_contain_text("put the key into its own field")
    assert KEY not in page.content()
    screen.shot("backend-mistake")
    assert catalog.configured()["workshop"].api_key == KEY
    assert set(AuditEntry.objects.values_list("verb", flat=True)) == {"backendrecord.add", "backend.test"}


def test_a_model_is_deleted(screen_of: OpenScreen, server: Server, bob: User, ollama: OllamaServer) -> None:
    BackendRecord.objects.create(name="workshop", driver="ollama", base_url=ollama.url)
    sync.sync("workshop")
    name = Model.objects.earliest("name").name
    screen = screen_of(bob)
    page = screen.page
    page.goto("/admin/models/workshop/")
    expect(page.locator("#models tbody tr").first).to_contain_text(name)
    screen.shot("models")
    page.locator("#models tr", has_text=name).first.locator("text=Delete").click()
    screen.shot("model-delete")
    page.click("button:has-text('Delete')")
    expect(page.locator(".messagelist")).to_contain_text(f"The model {name} was deleted from workshop.")
    assert not Model.objects.filter(name=name).exists()


@pytest.mark.parametrize(("look", "width", "scheme"), [("dark", 1400, "dark"), ("phone", 390, "light")])
def test_they_are_looked_at(
    screen_of: OpenScreen, server: Server, bob: User, ollama: OllamaServer, look: str, width: int, scheme: str
) -> None:
    record = BackendRecord.objects.create(name="workshop", driver="ollama", base_url=ollama.url)
    BackendRecord.objects.create(name="away", driver="openai", base_url="http://127.0.0.1:9/v1")
    BackendRecord.objects.create(name="idle", driver="fake", enabled=False)
    sync.sync("workshop")
    screen = screen_of(bob, width=width, scheme=scheme)
    for name, address in (
        ("backends", PAGE),
        ("backend", f"{PAGE}{record.pk}/change/"),
        ("models", "/admin/models/workshop/"),
        ("models-none", "/admin/models/away/"),
    ):
        screen.page.goto(address)
        screen.shot(f"{look}-{name}")
        assert screen.page.evaluate("document.documentElement.scrollWidth") <= width
