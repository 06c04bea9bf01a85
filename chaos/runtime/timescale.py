"""Compress the time of Prometheus and Alertmanager files by S, and nothing else.

What is a length of time is divided: range windows, subqueries, offsets, `for`, intervals, waits.
What is a ratio, a quantile or a rate per second stays, since load and ratios are real in a run. Two
kinds of bare numbers hide a length of time, and only their author knows: a count of events per
window, and seconds compared as a value. Such a number carries the comment `# scale: divide` behind
it on its line; seconds may as well be written as `10m`, which needs no mark. Limits of real calls
(`timeout`) stay, and a scrape keeps at least its floor.

At S = 1 the result means exactly what the source means.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import yaml

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_TIME_SCALE = 1.0
MAX_TIME_SCALE = 150.0
"""Above this the scrape interval of 15 s comes under 100 ms, too short to stay true."""

SCRAPE_TIMEOUT_FLOOR_MS = 1_000
"""A scrape takes real time: its limit stays above this, or at its interval if that is shorter."""

SCALED_KEYS = frozenset(
    {
        "evaluation_interval",
        "for",
        "group_interval",
        "group_wait",
        "interval",
        "keep_firing_for",
        "query_offset",
        "repeat_interval",
        "resolve_timeout",
        "rule_query_offset",
        "scrape_interval",
    }
)
REAL_KEYS = frozenset({"timeout"})
"""Limits of calls over the network: they take as long in a run as in production."""

OPAQUE_KEYS = frozenset(
    {"annotations", "external_labels", "labels", "matchers", "params", "targets"}
)
"""Values that people wrote for people or for matching; a duration in them is text."""

_UNIT_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_DURATION = r"(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m(?!s))?(?:\d+s)?(?:\d+ms)?"
_DURATION_RE = re.compile(_DURATION)
_RANGE_RE = re.compile(r"\[\s*(?P<window>\w+)\s*(?P<colon>:\s*(?P<step>\w+)?\s*)?\]")
_TOKEN_RE = re.compile(
    r"""
      (?P<string>"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*`)
    | (?P<comment>\#[^\n]*)
    | (?P<range>\[[^\]]*\])
    | (?P<word>[A-Za-z_:][\w:.]*)
    | (?P<literal>0[xX][0-9A-Fa-f]+
        | (?:\d+(?:ms|[smhdwy]))+
        | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<other>\s+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MARK_RE = re.compile(r"#\s*scale:\s*(?P<verb>\S*)")


def check_time_scale(time_scale: float) -> float:
    """Return `time_scale` when it is in 1..150, or raise `UsageError` with one clear line."""
    if not math.isfinite(time_scale) or not MIN_TIME_SCALE <= time_scale <= MAX_TIME_SCALE:
        raise UsageError(
            f"time scale {time_scale:g}; expected {MIN_TIME_SCALE:.0f} (real time) to "
            f"{MAX_TIME_SCALE:.0f}, for example --time-scale 60"
        )
    return time_scale


def parse_duration_ms(text: str) -> int:
    """Return the milliseconds of a Prometheus duration like `1h30m`, or raise `UsageError`."""
    if text == "0":
        return 0
    if not text or not _DURATION_RE.fullmatch(text):
        raise UsageError(
            f"duration {text!r}; expected Prometheus' form, for example 30s, 5m or 1h30m"
        )
    return sum(int(n) * _UNIT_MS[unit] for n, unit in re.findall(r"(\d+)(ms|[ywdhms])", text))


def scale_duration_ms(duration_ms: float, time_scale: float) -> int:
    """Return `duration_ms / time_scale` in whole milliseconds; only zero becomes zero."""
    return 0 if duration_ms == 0 else max(1, round(duration_ms / time_scale))


def scale_duration(text: str, time_scale: float) -> str:
    """Return a duration divided by `time_scale`, written in milliseconds."""
    return f"{scale_duration_ms(parse_duration_ms(text), time_scale)}ms"


def scale_promql(expr: str, time_scale: float) -> str:
    """Return a PromQL expression for time scale S.

    Raises `UsageError` for a window that is no plain duration and for a `# scale:` mark without its
    number.
    """
    out: list[str] = []
    number: int | None = None  # where in `out` the last bare number of this line stands
    before = ""  # the last token that is neither space nor sign, to know `offset 300`
    for kind, token in _tokens(expr):
        written = token
        if kind == "range":
            written = _scale_range(token, time_scale)
        elif kind == "literal":
            if before == "offset" or _is_duration(token):
                written = _scale_seconds_or_duration(token, time_scale)
            else:
                number = len(out)
        elif kind == "comment" and (mark := _MARK_RE.match(token)):
            written = _divide_marked(out, number, mark["verb"], time_scale)
        elif "\n" in token and kind == "other":
            number = None
        out.append(written)
        if kind not in {"other", "comment"} or token.strip() not in {"", "-", "+"}:
            before = token.lower()
    return "".join(out)


def scale_document(text: str, time_scale: float) -> str:
    """Return a rule file or a configuration of Prometheus or Alertmanager for time scale S.

    A duration under a key that is not known to scale or to stay is refused: guessing would make a
    run lie.
    """
    check_time_scale(time_scale)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"monitoring file is no YAML: {str(error).splitlines()[0]}") from error
    scaled = _scale_node(document, time_scale, where="")
    return yaml.dump(scaled, Dumper=_Dumper, sort_keys=False, width=1_000, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes expressions over several lines as block text, so that a rendered rule can be read."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _tokens(expr: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN_RE.finditer(expr):
        yield str(match.lastgroup), match.group()


def _is_duration(token: str) -> bool:
    return token[-1].isalpha() and _DURATION_RE.fullmatch(token) is not None


def _scale_seconds_or_duration(token: str, time_scale: float) -> str:
    """Scale a window, step or offset; since Prometheus 3 a bare number there means seconds."""
    if token.isdigit():
        return f"{scale_duration_ms(int(token) * 1_000, time_scale)}ms"
    return scale_duration(token, time_scale)


def _scale_range(token: str, time_scale: float) -> str:
    match = _RANGE_RE.fullmatch(token)
    if match is None:
        raise UsageError(
            f"window {token!r}; expected one plain duration like [5m], or a subquery like [1h:1m]"
        )
    window = _scale_seconds_or_duration(match["window"], time_scale)
    if match["colon"] is None:
        return f"[{window}]"
    step = _scale_seconds_or_duration(match["step"], time_scale) if match["step"] else ""
    return f"[{window}:{step}]"


def _divide_marked(out: list[str], number: int | None, verb: str, time_scale: float) -> str:
    """Divide the number that a mark belongs to, and return the comment that replaces the mark."""
    if verb.rstrip(",;.") != "divide":
        raise UsageError(f"mark '# scale: {verb}'; expected '# scale: divide' behind a number")
    if number is None:
        raise UsageError(
            "mark '# scale: divide' has no number before it on its line; put it behind its number"
        )
    written = out[number]
    value = float(int(written, 16)) if written[:2].lower() == "0x" else float(written)
    out[number] = f"{value / time_scale:.15g}"
    return f"# {written} divided by {time_scale:g}"


def _scale_node(node: object, time_scale: float, *, where: str) -> object:
    if isinstance(node, list):
        return [_scale_node(item, time_scale, where=f"{where}[{i}]") for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    scaled: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{where}.{key}".lstrip(".")
        if key in OPAQUE_KEYS or key in REAL_KEYS:
            scaled[key] = value
        elif key == "expr":
            scaled[key] = scale_promql(str(value), time_scale)
        elif key in SCALED_KEYS:
            scaled[key] = scale_duration(str(value), time_scale)
        elif isinstance(value, str) and key != "scrape_timeout" and _looks_like_duration(value):
            known = ", ".join(sorted(SCALED_KEYS))
            raise UsageError(
                f"{path}: {value!r} looks like a duration, but it is not decided whether {key!r} "
                f"scales; add it to SCALED_KEYS ({known}) or REAL_KEYS"
            )
        else:
            scaled[key] = _scale_node(value, time_scale, where=path)
    _scale_scrape_timeout(node, scaled, time_scale)
    return scaled


def _scale_scrape_timeout(node: dict[str, Any], scaled: dict[str, Any], time_scale: float) -> None:
    """Keep a scrape's limit at its floor or its interval, whichever is shorter.

    A limit without an interval beside it would need the global one; such a file is refused.
    """
    if "scrape_timeout" not in node:
        return
    if "scrape_interval" not in node:
        raise UsageError("scrape_timeout stands without scrape_interval beside it; write both")
    timeout_ms = parse_duration_ms(str(node["scrape_timeout"]))
    interval_ms = scale_duration_ms(parse_duration_ms(str(node["scrape_interval"])), time_scale)
    floor_ms = min(timeout_ms, SCRAPE_TIMEOUT_FLOOR_MS)
    limit_ms = min(interval_ms, max(floor_ms, scale_duration_ms(timeout_ms, time_scale)))
    scaled["scrape_timeout"] = f"{limit_ms}ms"


def _looks_like_duration(value: str) -> bool:
    return bool(value) and value[-1].isalpha() and _DURATION_RE.fullmatch(value) is not None
