"""The batch's table as a page that opens offline: the one place that knows how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autosft.batch.table import number, signed
from autosft.budget import format_seconds
from autosft.disk import writing

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Batch {{ title }}</title>
<style>
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --bad: #b3261e; --good: #1b7f3b; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7bd88f; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; } p { margin: .3rem 0 1rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; padding: .4rem 0; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--soft); }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.failed, .unfinished { color: var(--bad); } .proven { color: var(--good); } small { opacity: .75; white-space: nowrap; }
</style></head><body>
<h1>Batch {{ title }}</h1>
<p>{{ summary }}.</p>
{% if troubles %}<h2>What needs you</h2><ul>
{% for row in troubles %}<li><b>{{ row.name }}</b>, {{ row.state }}: {{ row.reason }}</li>
{% endfor %}</ul>{% endif %}
<div class="wide"><table>
<caption>Scores are of the shipped model on rows that the search never chose by, unless they say otherwise;
intervals are 95 % bootstrap intervals; gains are of the tuned winner over the best untuned default,
positive when better.</caption>
<thead><tr><th scope="col">job</th><th scope="col">state</th><th scope="col">kind</th><th scope="col">metric</th>
<th scope="col">score</th><th scope="col">untuned default</th><th scope="col">gain</th><th scope="col">won</th>
<th scope="col">trials</th><th scope="col">wall</th><th scope="col">worker-seconds</th><th scope="col">GPU-hours</th>
</tr></thead><tbody>
{% for row in rows %}<tr>
<th scope="row">{% if row.report %}<a href="{{ row.report | urlencode }}">{{ row.name }}</a>
{% else %}{{ row.name }}{% endif %}</th>
<td class="{{ row.state }}">{{ row.state }}</td><td>{{ row.kind or "" }}</td><td>{{ row.metric or "" }}</td>
{% if row.state == "finished" %}<td class="number">{{ row.score | number }}<br><small>[{{ row.score_low | number }},
{{ row.score_high | number }}]
{{ "on rows that the search chose by" if row.score_rows == "folds" }}</small></td>
<td class="number">{{ row.default_score | number }}</td>
<td class="number{{ " proven" if row.proven }}">{{ row.gain | signed }}{{ " proven" if row.proven }}<br>
<small>[{{ row.gain_low | signed }}, {{ row.gain_high | signed }}]</small></td>
<td>{{ row.trainer }} on {{ row.model }}{{ ", its untuned default" if row.is_default }}</td>
{% else %}<td></td><td></td><td></td><td></td>{% endif %}
<td class="number">{{ row.num_trials if row.num_trials is not none }}</td>
<td class="number">{{ row.wall_seconds | seconds }}</td>
<td class="number">{{ row.worker_seconds if row.worker_seconds is not none }}</td>
<td class="number">{{ row.gpu_hours if row.gpu_hours is not none }}</td></tr>
{% endfor %}</tbody></table></div>
</body></html>
"""


def write_page(path: Path, rows: Sequence[Mapping[str, Any]], *, summary: str) -> None:
    """Writes the table as a page that needs no network."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"number": number, "signed": signed, "seconds": lambda value: format_seconds(value or 0)}
    troubles = [row for row in rows if row["state"] != "finished"]
    title = path.parent.name
    page = environment.from_string(_PAGE).render(title=title, summary=summary, rows=rows, troubles=troubles)
    with writing(path.parent):
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
