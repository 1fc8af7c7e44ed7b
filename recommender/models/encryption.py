"""A column for what a person typed, encrypted where `ENCRYPTION_KEYS` holds keys; else as it is.

Rows from before the first key stay readable. Encryption is Fernet, with a new initialisation vector for each value, so
that a column cannot be searched: https://cryptography.io/en/latest/fernet/
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.functions import Cast

from recommender import conf
from recommender.exceptions import ConfigurationError, MissingDependency
from recommender.text.masking import MASK

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

PREFIX = "\x01"
"""Before each encrypted value; a query has no control character."""


class EncryptedTextField(models.TextField):
    """Text that is encrypted when it is saved and decrypted when it is read; what no key opens is read as `MASK`."""

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return super().get_db_prep_save(encrypted(value) if isinstance(value, str) else value, connection)

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        return plain(value) if value else value


class StoredValue(Cast):
    """The value of an encrypted column as it is stored."""

    def __init__(self, column: str) -> None:
        super().__init__(column, output_field=models.TextField())


def encrypted(text: str) -> str:
    """What is stored for a text: itself without keys. Raises `ConfigurationError` or `MissingDependency`."""
    cipher = current_cipher()
    return text if cipher is None or not text else PREFIX + cipher.encrypt(text.encode()).decode()


def plain(stored: str) -> str:
    """The text of a stored value; `MASK` where no key opens it."""
    return _opened(current_cipher(), stored) or MASK if stored.startswith(PREFIX) else stored


def is_newest(stored: str) -> bool:
    """Is a value encrypted by the first of the keys?"""
    return stored.startswith(PREFIX) and bool(_opened(_cipher(tuple(conf.get("ENCRYPTION_KEYS"))[:1]), stored))


def is_readable(stored: str) -> bool:
    """Is a value not encrypted, or does one of the keys open it?"""
    return not stored.startswith(PREFIX) or bool(_opened(current_cipher(), stored))


def current_cipher() -> MultiFernet | None:
    """Encrypts by the first of `ENCRYPTION_KEYS` and decrypts by any; None without keys. Raises `ConfigurationError`
    for a key that is none, and `MissingDependency`."""
    return _cipher(tuple(conf.get("ENCRYPTION_KEYS")))


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str | bytes, ...]) -> MultiFernet | None:
    if not keys:
        return None
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        message = 'ENCRYPTION_KEYS needs the package cryptography: pip install "shopreco[encryption]".'
        raise MissingDependency(message) from error
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except (ValueError, TypeError) as error:
        message = "ENCRYPTION_KEYS must be keys as cryptography.fernet.Fernet.generate_key() makes them."
        raise ConfigurationError(message) from error


def _opened(cipher: MultiFernet | None, stored: str) -> str:
    """The text of an encrypted value; empty where no key opens it."""
    if cipher is None:
        return ""
    from cryptography.fernet import InvalidToken

    try:
        return cipher.decrypt(stored[len(PREFIX) :]).decode()
    except InvalidToken:
        return ""
