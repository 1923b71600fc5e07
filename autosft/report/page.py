"""Pages: one self-contained HTML file each, with its stylesheet, its scripts and plotly's in it, and a strict policy.

Whatever others wrote is escaped here, by the template. What a page holds is made elsewhere.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosft.errors import MissingExtraError, explain
from autosft.report.blocks import Figure, Section, Table, Tile
from autosft.report.cells import Span, sort_key, spans, worded
from autosft.run_folder import as_json

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_NUMERIC = frozenset({"count", "number", "short", "share", "signed", "time", "interval"})

#: What ends a script, opens a comment, or is a line's end to old parsers, as JSON writes it without.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def page(title: str, content: Markup, *, with_figures: bool = False) -> str:
    """Returns a whole HTML document.

    Nothing can be fetched from it, and no script runs but those named by their hash.

    Args:
        title: Of the window, plain text.
        content: What `body` returned, or other HTML that is safe.
        with_figures: Whether plotly's script is needed.
    """
    from markupsafe import Markup

    scripts = [_text("theme.js"), *([_plotly()] if with_figures else []), _text("page.js")]
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    # Plotly writes styles of its own into the page; styles can fetch nothing under this policy.
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=title, policy=policy, css=Markup(_text("page.css")), content=content, scripts=[*map(Markup, scripts)]
    )


def body(title: str, told: str, sentences: Sequence[str], tiles: Sequence[Tile], sections: Sequence[Section]) -> Markup:
    """Returns what stands in a page: a heading, sentences, tiles, a table of contents and the sections."""
    from markupsafe import Markup

    template = _environment().get_template("body.html.j2")
    return Markup(template.render(title=title, told=told, sentences=sentences, tiles=tiles, sections=sections))


def script_json(value: Any) -> str:
    """Returns JSON that no text in it can break out of a script element with."""
    text = json.dumps(as_json(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return "".join(_UNSAFE.get(letter, letter) for letter in text)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("autosft.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(
        worded=worded,
        sort_key=sort_key,
        all_spans=_all_spans,
        options=_options,
        position=_position,
        as_script=_as_script,
        numeric=_NUMERIC,
    )
    return environment


def _all_spans(table: Table) -> list[Sequence[Span | None]]:
    nothing = [None] * len(table.rows)
    return [spans(table, at) if column.kind == "interval" else nothing for at, column in enumerate(table.columns)]


def _position(table: Table, name: str) -> int:
    return next(at for at, column in enumerate(table.columns) if column.name == name)


def _options(table: Table, name: str) -> list[str]:
    at = _position(table, name)
    return sorted({worded(row[at], table.columns[at].kind) for row in table.rows})


def _as_script(figure: Figure) -> Markup:
    from markupsafe import Markup

    return Markup(script_json({"data": figure.data, "layout": figure.layout}))


@functools.cache
def _text(name: str) -> str:
    return (files("autosft.report") / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> str:
    """Returns plotly.js as its Python package carries it, found without importing that."""
    spec = find_spec("plotly")
    places = spec.submodule_search_locations if spec else None
    path = Path(places[0]) / "package_data" / "plotly.min.js" if places else None
    if path is None or not path.exists():
        wrong = "plotly, which draws the report's figures, is not installed"
        raise MissingExtraError(explain(wrong=wrong, expected="the package plotly", fix="pip install 'plotly>=6,<8'"))
    # A browser reads every line end as one line feed before it compares hashes.
    return path.read_text(encoding="utf-8").replace("\r\n", "\n").replace("\r", "\n")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
