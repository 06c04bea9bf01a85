"""Fill the HTML templates: what is inserted is escaped, the style sheet goes into the page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import wording
from reports.svg import PATTERNS

TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, **values: object) -> str:
    """Return a whole HTML page. A name that nobody gave a value is an error, never a blank."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    env.globals.update(
        style=Markup((TEMPLATES / "style.css").read_text("utf-8")),  # noqa: S704 (our own file)
        patterns=PATTERNS,
        glyphs=wording.GLYPHS,
        dash=wording.NONE,
    )
    for function in (
        wording.amount,
        wording.fault_text,
        wording.telling_labels,
        wording.millis,
        wording.moment,
        wording.number,
        wording.percent,
        wording.seconds,
        wording.witness_text,
    ):
        env.filters[function.__name__] = function
    return env


def _readable(value: object) -> object:
    """Replace in inserted text what HTML may not hold; markup was cleaned when it was made."""
    return (
        value if isinstance(value, Markup) or not isinstance(value, str) else wording.clean(value)
    )
