from typing import Any

import pytest

from maintenance import encryption

KEY = "sk-planted-key"


def test_what_is_stored_does_not_hold_the_key_and_gives_it_back() -> None:
    stored = encryption.encrypt(KEY)
    assert KEY not in stored
    assert encryption.encrypt(KEY) != stored, "two of the same look different"
    assert encryption.decrypt(stored) == KEY


def test_no_key_is_stored_as_nothing() -> None:
    assert (encryption.encrypt(""), encryption.decrypt("")) == ("", "")


def test_another_secret_key_cannot_read_it(settings: Any) -> None:
    stored = encryption.encrypt(KEY)
    settings.SECRET_KEY = "another-one"
    with pytest.raises(encryption.Unreadable):
        encryption.decrypt(stored)


def test_an_earlier_secret_key_can_still_read_and_no_longer_writes(settings: Any) -> None:
    before, stored = settings.SECRET_KEY, encryption.encrypt(KEY)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-one", [before]
    assert encryption.decrypt(stored) == KEY
    renewed = encryption.encrypt(KEY)
    settings.SECRET_KEY_FALLBACKS = []
    assert encryption.decrypt(renewed) == KEY


@pytest.mark.parametrize("damaged", ["nonsense", "gAAAAA==", "ключ"])
def test_what_is_damaged_is_unreadable(damaged: str) -> None:
    with pytest.raises(encryption.Unreadable):
        encryption.decrypt(damaged)
