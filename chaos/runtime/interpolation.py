"""`${VAR:-default}` as Compose understands it, but strict: a variable without a value is an error.

Source: https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)"
    r"|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?[-?])(?P<operand>[^}]*))?\}"
    r"|(?P<bare>[A-Za-z_]\w*)"
    r"|(?P<bad>.?))"
)


def interpolate(value: object, environ: Mapping[str, str], *, where: str) -> object:
    """Replace variables in every string of a parsed YAML document; `where` begins error messages.

    `$$` becomes `$`. Raises `UsageError` on a variable that has neither a value nor a default.
    """
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _substitute(found, environ, where), value)
    if isinstance(value, list):
        return [
            interpolate(item, environ, where=f"{where}[{index}]")
            for index, item in enumerate(value)
        ]
    if isinstance(value, dict):
        return {
            key: interpolate(item, environ, where=f"{where}.{key}" if where else str(key))
            for key, item in value.items()
        }
    return value


def _substitute(found: re.Match[str], environ: Mapping[str, str], where: str) -> str:
    if found["escaped"]:
        return "$"
    name = found["braced"] or found["bare"]
    if name is None:
        raise UsageError(
            f"{where}: {found[0]!r} is no variable; expected ${{NAME}}, ${{NAME:-default}} or $$"
        )
    value = environ.get(name)
    operator, operand = found["operator"] or "", found["operand"] or ""
    # With a colon an empty value counts as unset.
    if value or (value is not None and not operator.startswith(":")):
        return value
    if operator.endswith("-"):
        return operand
    reason = operand or f"no value; export it, or write ${{{name}:-default}}"
    raise UsageError(f"{where}: variable {name!r}: {reason}")
