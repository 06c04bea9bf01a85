"""Every key of the backend, derived from SECRET_KEY: one purpose, one key.

A rotation moves SECRET_KEY to PREVIOUS_SECRET_KEYS: what the old key closed can still be opened, and nothing new is
closed with it.
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.core.config import Settings

KEY_BYTES = 32
KEY_ID_BYTES = 8
PSEUDONYM_DIGITS = 16
# Part of every label, so that another application with the same secret has other keys.
CONTEXT = "social-flow/1/"


class SealBrokenError(Exception):
    """What should be opened was not closed with any known key, or was changed since."""

    def __init__(self) -> None:
        super().__init__(
            "a sealed value cannot be opened: it was changed, or its key is missing from"
            " SECRET_KEY and PREVIOUS_SECRET_KEYS"
        )


class Keys:
    """Derived keys, the current one first. They are not shown when the object is printed."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        unique = tuple(dict.fromkeys(secrets))
        if not unique:
            raise ValueError("there is no secret to derive keys from; set SECRET_KEY")
        self._pseudonym_key = derive(unique[0], "pseudonym")
        self._pepper_keys = tuple(derive(secret, "pepper") for secret in unique)
        self._seals = MultiFernet(
            [Fernet(base64.urlsafe_b64encode(derive(secret, "seal"))) for secret in unique]
        )
        self._signing_keys = {key_id(secret): derive(secret, "sign") for secret in unique}
        self._signing_key_id = key_id(unique[0])

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Derive the keys of SECRET_KEY and of each of PREVIOUS_SECRET_KEYS."""
        previous = settings.previous_secret_keys.get_secret_value().split(",")
        texts = [settings.secret_key.get_secret_value(), *(text.strip() for text in previous)]
        return cls([text.encode() for text in texts if text])

    def pseudonym(self, text: str) -> str:
        """Name a person without naming them: 16 hex digits, the same for each spelling in other case."""
        digest = _hmac(self._pseudonym_key, _bytes(text.casefold()))
        return digest.hex()[:PSEUDONYM_DIGITS]

    def pepper(self, purpose: str, value: str) -> bytes:
        """Return 32 bytes that stand for `value` where it is stored, by the current key.

        Only for values with enough randomness of their own (tokens, recovery codes): this is quick on purpose.
        """
        return _pepper(self._pepper_keys[0], purpose, value)

    def peppers(self, purpose: str, value: str) -> tuple[bytes, ...]:
        """Return one pepper a key, the current first: what was stored before a rotation is found by the others."""
        return tuple(_pepper(key, purpose, value) for key in self._pepper_keys)

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and sign by the current key."""
        return self._seals.encrypt(plain)

    def unseal(self, sealed: bytes) -> bytes:
        """Open what any known key sealed; raise `SealBrokenError` otherwise."""
        try:
            return self._seals.decrypt(sealed)
        except InvalidToken:
            raise SealBrokenError from None

    @property
    def signing_key(self) -> tuple[str, bytes]:
        """The id and the key that new tokens are signed with."""
        return self._signing_key_id, self._signing_keys[self._signing_key_id]

    @property
    def signing_keys(self) -> Mapping[str, bytes]:
        """Every key, by id, whose signature is believed."""
        return self._signing_keys


def derive(secret: bytes, purpose: str) -> bytes:
    """Return the key of `purpose`: HKDF-SHA256 (RFC 5869). None of them tells anything of another."""
    label = f"{CONTEXT}{purpose}".encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=label).derive(secret)


def key_id(secret: bytes) -> str:
    """Name the key in public: derived like a key, so that it tells nothing of the secret."""
    return derive(secret, "key id")[:KEY_ID_BYTES].hex()


def _pepper(key: bytes, purpose: str, value: str) -> bytes:
    # The first HMAC makes a key of the purpose, so no value of one purpose equals a value of another.
    return _hmac(_hmac(key, _bytes(purpose)), _bytes(value))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _bytes(text: str) -> bytes:
    # JSON may carry half of a surrogate pair, which strict UTF-8 refuses with an error that quotes the text.
    return text.encode("utf-8", "surrogatepass")
