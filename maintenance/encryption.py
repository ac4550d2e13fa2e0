"""Secrets of others at rest, such as keys of backends and headers of tools: Fernet tokens under a key from SECRET_KEY.

New ones are written under SECRET_KEY; those of SECRET_KEY_FALLBACKS can still be read, so that it can be changed.
"""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

# Parts this key from whatever else is made of SECRET_KEY. Changed, nothing that is stored can be read.
_PURPOSE = b"secrets at rest"
_BYTES = 32


class Unreadable(Exception):
    """What is stored was encrypted under another SECRET_KEY, or is damaged."""


def encrypt(secret: str) -> str:
    """What to store of a secret; nothing for none."""
    return _fernet().encrypt(secret.encode()).decode() if secret else ""


def decrypt(stored: str) -> str:
    """The secret; empty where none is stored. Raises Unreadable."""
    try:
        return _fernet().decrypt(stored.encode()).decode() if stored else ""
    except (InvalidToken, ValueError) as error:
        raise Unreadable from error


def _fernet() -> MultiFernet:
    return MultiFernet([_derived(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


@lru_cache(maxsize=8)
def _derived(secret: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=_BYTES, salt=None, info=_PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
