"""Removes from a log line what looks like a secret or a person, whoever logged it.

By key: what is called a password, a code or an address is never shown, whatever it holds. By value: texts lose tokens,
e-mail and IP addresses, long runs of digits and what databases quote of a row. Objects that are no plain data are
turned into text first, so that none reaches the renderer with something in it that was not looked at.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from ipaddress import ip_address
from string import ascii_letters, digits
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

REDACTED = "[redacted]"
MAX_TEXT = 16 * 1024
MAX_DEPTH = 8
MAX_ITEMS = 200

# Written by the logging module or validated where they came in; hex ids must not be mistaken for card numbers.
_SAFE_KEYS = frozenset({"timestamp", "level", "service", "component", "correlation_id", "trace_id"})
# Texts of a closed set: looked at once, then remembered.
_CLOSED_SETS = frozenset({"method", "route", "outcome", "reason", "status", "result", "dependency"})
# Codes that are the outcome of something, not the proof of who somebody is.
_PLAIN_CODES = re.compile(r"^(?:status|exit|error|return)_codes?$")
_SECRET_KEYS = re.compile(
    r"(?:^|[_.-])(?:passw(?:or)?d|passphrase|pwd|secret|token|jwt|authorization|cookie|api_?key|private_?key|dsn"
    r"|t?otp|code|recovery|challenge|card|cvc|iban|e_?mail|mail|phone|user_?name|login_?name"
    r"|ip|addr(?:ess)?(?:es)?|remote_?(?:addr|host)|user_?agent|x[_-]forwarded[_-]for|forwarded)s?(?:$|[_.-])"
)
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_CARD = re.compile(r"(?<![\w.-])\+?\d(?:[ -]?\d){12,18}(?![\w-])")
_LONG_RUN = re.compile(r"(?<![\w.-])\+?[0-9]{6,}(?![\w-])")

# Each pattern is tried only on texts that contain its hint: nearly all are short names and ids.
_SECRET_VALUES = (
    ("://", re.compile(r"(?<=://)[^/\s@]+(?=@)"), REDACTED),  # user:password of a URL
    (" ", re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {REDACTED}"),
    ("eyJ", re.compile(r"(?<!\w)eyJ[\w-]++\.[\w-]++\.[\w-]*+"), REDACTED),  # a JWT
    ("@", re.compile(r"(?<![\w.+-])[\w.+-]+@[\w.-]+"), REDACTED),  # an e-mail address
    ("k_", re.compile(r"\b[spr]k_\w{8,}"), REDACTED),  # a payment provider's key
    ("whsec_", re.compile(r"\bwhsec_\w{8,}"), REDACTED),
    # What PostgreSQL, SQLAlchemy and pydantic quote of a row or a body.
    (")=(", re.compile(r"Key (\([^\n]{0,300}?\))=\([^\n]*\)"), rf"Key \1=({REDACTED})"),
    (
        "Failing row",
        re.compile(r"Failing row contains \([^\n]*"),
        f"Failing row contains {REDACTED}",
    ),
    ("[parameters:", re.compile(r"\[parameters: [^\n]*"), f"[parameters: {REDACTED}]"),
    ("input_value=", re.compile(r"input_value=[^\n]*(?=, input_type)"), f"input_value={REDACTED}"),
    # A recovery code.
    (
        "-",
        re.compile(r"(?<![\w-])(?=[A-Za-z-]*\d)[A-Za-z0-9]{5}-[A-Za-z0-9]{5}(?![\w-])"),
        REDACTED,
    ),
    # One-time codes, card and telephone numbers.
    ("", _CARD, REDACTED),
    ("", _LONG_RUN, REDACTED),
    (".", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d|\.\d)"), REDACTED),  # IP version 4
)
_MAYBE_IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{0,40}:[0-9A-Fa-f:.]{0,40}(?![\w:])"
)

# The quick look: paths, ids and names of events are letters, digits and these, in none of the shapes above.
_ALNUM = (ascii_letters + digits).encode()
_KINDS = bytearray(b"!" * 256)
for _letter in _ALNUM:
    _KINDS[_letter] = ord("a")
for _innocent in b"/_{}-":
    _KINDS[_innocent] = ord("-") if _innocent == ord("-") else ord(" ")
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")


@lru_cache(maxsize=1024)
def cleaner_of(key: str) -> Callable[[object], object]:
    """Return the function that makes of a value under `key` what may be shown: plain data, nothing to be hidden."""
    words = _CAPITAL.sub("_", key).lower()
    if _SECRET_KEYS.search(words) and not _PLAIN_CODES.match(words):
        return _hide
    if key in _SAFE_KEYS:
        return str
    return _clean_closed if key in _CLOSED_SETS else clean


def _hide(value: object) -> object:
    return value if value is None or value is True or value is False else REDACTED


def _clean_closed(value: object) -> object:
    return clean_name(value) if type(value) is str else clean(value)


def clean(value: object, depth: int = 0) -> object:
    """Return what may be shown of a value whose key says nothing about it."""
    if isinstance(value, str):
        return clean_text(value)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return int(value)  # also of an enumeration's member
    if isinstance(value, float):
        return float(value)
    return _clean_object(value, depth)


def _clean_object(value: object, depth: int) -> object:
    if isinstance(value, bytes | bytearray | memoryview) or depth >= MAX_DEPTH:
        return REDACTED
    if isinstance(value, dict):
        pairs = list(value.items())[:MAX_ITEMS]
        return {clean_text(str(key)): _clean_item(str(key), each, depth + 1) for key, each in pairs}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(each, depth + 1) for each in list(value)[:MAX_ITEMS]]
    try:
        return str(value) if isinstance(value, UUID | date) else clean_text(str(value))
    except Exception:  # noqa: BLE001 - a log line must never break who logs
        return f"[{type(value).__name__} without text]"


def _clean_item(key: str, value: object, depth: int) -> object:
    cleaner = cleaner_of(key)
    return clean(value, depth) if cleaner is clean else cleaner(value)


def clean_text(text: str) -> str:
    """Return `text` without secrets and persons. A text of any length costs a bounded time."""
    if text.isascii():
        raw = text.encode()
        kinds = raw.translate(_KINDS)
        if (
            b"!" not in kinds
            and b"aaaaa-aaaaa" not in kinds
            and "k_" not in text
            and not _has_number(raw, text)
        ):
            return text
    return _search(text)


def _has_number(raw: bytes, text: str) -> bool:
    zeros = raw.translate(_DIGITS_ALIKE)
    if b"000000" not in zeros and b"0000-0000" not in zeros:
        return False
    return bool(_LONG_RUN.search(text) or _CARD.search(text))


clean_name: Callable[[str], str] = lru_cache(maxsize=1024)(clean_text)
"""The same for texts of a closed set, such as names of events."""


def _search(text: str) -> str:
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}…"
    # Half a surrogate pair, which clients can put into a path, is no text that could be rendered.
    text = text.encode("utf-8", "replace").decode()
    for hint, pattern, replacement in _SECRET_VALUES:
        if hint in text:
            text = pattern.sub(replacement, text)
    if text.count(":") > 1:
        text = _MAYBE_IPV6.sub(_without_ipv6, text)
    return text


def _without_ipv6(match: re.Match[str]) -> str:
    found = match[0].rstrip(".")
    try:
        ip_address(found)
    except ValueError:
        return match[0]
    return match[0].replace(found, REDACTED) if found.strip(":") else match[0]
