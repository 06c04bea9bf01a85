"""Two-factor codes: TOTP (RFC 6238: SHA-1, 6 digits, 30 s) and recovery codes for when the phone is lost."""

from __future__ import annotations

import hmac
import re
import secrets

import pyotp

ISSUER = "Social Flow"
DIGITS = 6
STEP_S = 30
WINDOW_STEPS = 1
"""Either side: a phone may be half a minute off, and a code may be typed at its last second."""

RECOVERY_CODES = 10
# Crockford's alphabet: without i, l, o, u, so what is read from paper is unambiguous. 32 signs, 5 bits each.
RECOVERY_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
RECOVERY_GROUP = 5
RECOVERY_GROUPS = 2
MAX_TYPED = 32

_MISREAD = str.maketrans("ilo", "110", " -")
_RECOVERY_FORM = re.compile(f"[{RECOVERY_ALPHABET}]{{{RECOVERY_GROUP * RECOVERY_GROUPS}}}")
_CODE_FORM = re.compile(f"[0-9]{{{DIGITS}}}")


def new_secret() -> str:
    """Return 160 random bits in base32, as long as the hash wants (RFC 4226)."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, username: str) -> str:
    """Return the otpauth:// address that authenticator apps read as a QR code."""
    totp = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S)
    return totp.provisioning_uri(name=username, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now_s: float) -> int | None:
    """Return the step (30 s each since 1970) whose code this is, or None.

    The step of now and one either side are all compared, whichever fits, so the time tells nothing. Of two steps
    with the same code the later one counts as used.
    """
    typed = code.replace(" ", "") if len(code) <= MAX_TYPED else ""
    if _CODE_FORM.fullmatch(typed) is None:
        return None
    totp = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S)
    now = int(now_s // STEP_S)
    found: int | None = None
    for step in range(max(0, now - WINDOW_STEPS), now + WINDOW_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step), typed):
            found = step
    return found


def new_recovery_codes() -> tuple[str, ...]:
    """Return ten codes of 50 random bits each, like `7k3f9-m2xqa`."""
    return tuple(_new_recovery_code() for _ in range(RECOVERY_CODES))


def normal_recovery_code(text: str) -> str | None:
    """Return the one spelling of a recovery code, or None when it is none.

    Case, dashes and spaces do not matter; i and l are read as 1, o as 0.
    """
    if len(text) > MAX_TYPED or not text.isascii():
        return None
    signs = text.lower().translate(_MISREAD)
    if _RECOVERY_FORM.fullmatch(signs) is None:
        return None
    return _grouped(signs)


def _new_recovery_code() -> str:
    length = RECOVERY_GROUP * RECOVERY_GROUPS
    return _grouped("".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(length)))


def _grouped(signs: str) -> str:
    return "-".join(
        signs[begin : begin + RECOVERY_GROUP] for begin in range(0, len(signs), RECOVERY_GROUP)
    )
