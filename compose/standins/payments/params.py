"""Stripe's form-encoded parameters: nested by brackets, checked and typed before anything else sees them.

A field is a function from what the form holds and the parameter's name to the typed value. Unknown
parameters are refused, as Stripe does: a misspelt one must not be lost without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from compose.standins.payments.errors import ApiError, invalid

MAX_FIELDS = 500
MAX_DEPTH = 6
MAX_TEXT = 5000
MAX_LIST = 100
MAX_INDEX_DIGITS = 4
MAX_METADATA = 50
MAX_METADATA_KEY = 40
MAX_METADATA_TEXT = 500
MAX_AMOUNT = 99_999_999
MAX_TIME = 2**33

Field = Callable[[object, str], object]
Fields = Mapping[str, Field]
Params = dict[str, Any]

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")
_INTEGER = re.compile(r"-?\d{1,12}")


def decode(text: str) -> Params:
    """Return the nested form of an encoded body or query. Raises `ApiError` when it is none."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise invalid("The parameters are no valid form of at most 500 fields.") from error
    form: Params = {}
    for key, value in pairs:
        found = _KEY.fullmatch(key)
        if found is None:
            raise invalid("Invalid parameter name.", code="parameter_unknown")
        path = [found[1], *_PART.findall(found[2])]
        if len(path) > MAX_DEPTH:
            raise invalid("The parameters are nested too deeply.", found[1])
        _put(form, path, value)
    return form


def _put(form: Params, path: list[str], value: str) -> None:
    here: Params = form
    for part in path[:-1]:
        below = here.setdefault(part or str(len(here)), {})
        if not isinstance(below, dict):
            raise invalid("A parameter is a value and a hash at once.", path[0])
        here = below
    here[path[-1] or str(len(here))] = value


def read(form: Params, fields: Fields, required: tuple[str, ...] = ()) -> Params:
    """Return the typed parameters. Raises `ApiError` for unknown, wrong and missing ones."""
    typed = _hash(form, fields, "")
    for name in required:
        if typed.get(name) is None:
            raise ApiError(
                400, f"Missing required param: {name}.", code="parameter_missing", param=name
            )
    return typed


def _hash(form: Params, fields: Fields, within: str) -> Params:
    typed: Params = {}
    for key, value in form.items():
        name = f"{within}[{key}]" if within else key
        if key not in fields:
            shown = name[:80]
            raise invalid(f"Received unknown parameter: {shown}", shown, "parameter_unknown")
        typed[key] = None if value == "" else fields[key](value, name)
    return typed


def text(value: object, name: str) -> str:
    """Take a string."""
    if not isinstance(value, str):
        raise invalid("Invalid string", name)
    if len(value) > MAX_TEXT:
        raise invalid(f"Invalid string; must be at most {MAX_TEXT} characters", name)
    return value


def number(lowest: int, highest: int) -> Field:
    """Take an integer within bounds."""

    def take(value: object, name: str) -> int:
        if not isinstance(value, str) or not _INTEGER.fullmatch(value):
            raise invalid("Invalid integer", name, "parameter_invalid_integer")
        if not lowest <= int(value) <= highest:
            raise invalid(
                f"Invalid integer: must be from {lowest} to {highest}",
                name,
                "parameter_invalid_integer",
            )
        return int(value)

    return take


amount = number(1, MAX_AMOUNT)
"""Money: an integer of the currency's minor unit."""
moment = number(0, MAX_TIME)


def boolean(value: object, name: str) -> bool:
    """Take true or false."""
    if value not in ("true", "false"):
        raise invalid("Invalid boolean", name)
    return value == "true"


def one_of(*choices: str) -> Field:
    """Take one of these words."""

    def take(value: object, name: str) -> str:
        if value not in choices:
            raise invalid(f"Invalid {name}: must be one of {', '.join(choices)}", name)
        return str(value)

    return take


def hash_of(**fields: Field) -> Field:
    """Take a hash of these fields."""

    def take(value: object, name: str) -> Params:
        if not isinstance(value, dict):
            raise invalid("Invalid object", name)
        return _hash(value, fields, name)

    return take


def list_of(field: Field) -> Field:
    """Take a list, the items in the order of their numbers."""

    def take(value: object, name: str) -> list[object]:
        if not isinstance(value, dict) or not all(
            key.isdecimal() and len(key) <= MAX_INDEX_DIGITS for key in value
        ):
            raise invalid("Invalid array", name)
        if len(value) > MAX_LIST:
            raise invalid(f"Invalid array; must have at most {MAX_LIST} items", name)
        return [field(value[key], f"{name}[{key}]") for key in sorted(value, key=int)]

    return take


def free_hash(value: object, name: str) -> Params:
    """Take a hash whose fields mean nothing here."""
    if not isinstance(value, dict):
        raise invalid("Invalid object", name)
    return value


def metadata(value: object, name: str) -> dict[str, str]:
    """Take metadata: at most 50 short strings."""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise invalid("Invalid object", name)
    if len(value) > MAX_METADATA or any(
        len(k) > MAX_METADATA_KEY or len(v) > MAX_METADATA_TEXT for k, v in value.items()
    ):
        raise invalid("Metadata can have up to 50 keys of 40 and values of 500 characters", name)
    return value


def currency(value: object, name: str) -> str:
    """Take a currency that the provider settles."""
    found = value.lower() if isinstance(value, str) else ""
    if found not in CURRENCIES:
        raise invalid(f"Invalid currency: must be one of {', '.join(CURRENCIES)}", name)
    return found


CURRENCIES = ("usd", "eur", "gbp", "chf", "sek", "dkk", "nok", "pln", "cad", "aud", "jpy")
PAGE: Fields = {
    "limit": number(1, 100),
    "starting_after": text,
    "ending_before": text,
    "expand": list_of(text),
    "created": lambda value, name: (
        _hash(value, dict.fromkeys(("gt", "gte", "lt", "lte"), moment), name)
        if isinstance(value, dict)
        else moment(value, name)
    ),
}
COMMON: Fields = {"expand": list_of(text), "metadata": metadata}


def as_json(value: list[str]) -> str:
    """Return a list as the database reads it."""
    return json.dumps(value)


def merged(old: dict[str, str], new: dict[str, str] | None) -> dict[str, str]:
    """Return the metadata after an update: an empty value removes its key."""
    return {key: value for key, value in {**old, **(new or {})}.items() if value}
