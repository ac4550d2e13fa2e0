import pytest
from django.core import checks
from pytest_django.fixtures import Settings


def found() -> list[str]:
    ids = [str(message.id) for message in checks.run_checks()]
    return [each for each in ids if each.startswith("conversations.")]


@pytest.mark.usefixtures("valkey")
def test_limits_of_images_that_cannot_be_meant_are_found(settings: Settings) -> None:
    assert found() == []
    settings.IMAGES_MAX_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert found() == ["conversations.W001"]
    settings.IMAGES_MAX, settings.IMAGES_MAX_BYTES = -1, 0
    assert found() == ["conversations.E001"]
