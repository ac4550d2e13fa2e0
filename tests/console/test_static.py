import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client, override_settings

ROOT = Path(settings.BASE_DIR)
CONSOLE = ROOT / "chinese_worker" / "static" / "console"
MANIFEST = {**settings.STORAGES, "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}


def test_all_static_files_can_be_collected(tmp_path: Path) -> None:
    with override_settings(STATIC_ROOT=tmp_path, STORAGES=MANIFEST):
        call_command("collectstatic", "--noinput", verbosity=0)
    assert list(tmp_path.glob("console/console.*.css"))
    assert list(tmp_path.glob("console/console.*.css.gz"))


def test_every_icon_that_is_used_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([a-z]+)"', (CONSOLE / "icons.svg").read_text()))
    used = set()
    for template in (ROOT / "templates").rglob("*.html"):
        used |= set(re.findall(r'{% icon "([a-z]+)" %}', template.read_text()))
    used |= set(re.findall(r'icon="([a-z]+)"', (ROOT / "chinese_worker/console/navigation.py").read_text()))
    assert used <= sprite
    assert used >= {"menu", "retry", "overview"}


def test_text_of_models_never_becomes_markup() -> None:
    dangerous = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function")
    scripts = list(CONSOLE.glob("*.js"))
    assert len(scripts) >= 4
    assert [script.name for script in scripts if dangerous.search(script.read_text())] == []


def test_both_ways_to_darkness_give_the_same_colours() -> None:
    """Django's own switch sets an attribute; without it the browser's wish counts."""
    css = (CONSOLE / "console.css").read_text()
    wished = re.search(r"@media \(prefers-color-scheme: dark\) {\s*:root {(.*?)}", css, re.S)
    chosen = re.search(r'html\[data-theme="dark"\] {(.*?)}', css, re.S)
    assert wished
    assert chosen
    assert re.findall(r"--[a-z-]+: [^;]+", wished[1]) == re.findall(r"--[a-z-]+: [^;]+", chosen[1])


@pytest.mark.django_db
def test_a_page_names_the_skin_after_djangos_own_styles(client: Client) -> None:
    page = client.get("/admin/login/").content.decode()
    assert page.index("admin/css/responsive.css") < page.index("console/console.css")
