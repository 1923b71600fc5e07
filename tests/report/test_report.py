"""The report of a real run: what stands in it, that hostile data stay text, and that its numbers are the run's."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_data import HOSTILE, LABELS, SCRIPT, Finished

SECTIONS = [
    "leaderboard", "search-tells", "search", "answers", "slices", "calibration", "errors", "suspects", "audit", "cost",
    "plan", "again",
]  # fmt: skip


class Page(HTMLParser):
    """What a browser's parser makes of a page: its elements with their attributes, and the text of some."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open, data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self) -> str:
        return " ".join(text for of, text in self.texts if of not in ("script", "style"))


@pytest.fixture(scope="module")
def page(finished: Finished) -> Page:
    return Page(finished.html)


def test_every_section_is_there_and_linked(page: Page) -> None:
    assert [section["id"] for section in page.all("section")] == SECTIONS
    links = [link["href"] for link in page.all("a")]
    assert links == ["#content", *(f"#{name}" for name in SECTIONS)]
    headings = {heading.get("id") for heading in page.all("h2")}
    assert all(section["aria-labelledby"] in headings for section in page.all("section"))
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_what_the_data_hold_stays_text(page: Page, finished: Finished) -> None:
    assert SCRIPT in page.words() and "</script><img src=x" in page.words()
    assert not page.all("b") and not page.all("i"), "labels and names of columns are no HTML"
    assert all("onerror" not in attributes for _, attributes in page.elements)
    scripts = [one for one in page.all("script") if one.get("type") != "application/json"]
    assert len(scripts) == 3
    # Marks that turn the direction of text would garble what stands beside them.
    assert "\u202e" not in finished.html
    assert "w" * 300 not in finished.html, "a long word is cut"
    assert LABELS[2] in page.words()


def test_nothing_can_be_fetched_and_only_our_scripts_run(page: Page, finished: Finished) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta) or ""
    assert policy.startswith("default-src 'none';") and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    scripts = re.findall(r"<script>(.*?)</script>", finished.html, re.DOTALL)
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "plotly.js v" in scripts[1][:200]


def test_every_figure_has_its_numbers(page: Page, finished: Finished) -> None:
    figures = page.all("figure")
    assert len(figures) >= 6
    for figure in figures:
        part = finished.html.split(f'id="{figure["id"]}"')[1].split("</figure>")[0]
        assert "<details>" in part and "<tbody>" in part
        spec = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', part, re.DOTALL)[0])
        assert spec["data"] and "xaxis" in spec["layout"]


def test_the_summary_says_what_the_result_does(page: Page, finished: Finished) -> None:
    summary, words = finished.result.summary, page.words()
    low, high = summary["test"]["interval"]
    assert f"accuracy {summary['test']['score']:.4f} (95 % interval {low:.4f} to {high:.4f}) on 75 test rows" in words
    assert f"ran {len(finished.result.trials)} trials" in words
    assert "75" in words and "your test rows, never read by the search" in words
    assert finished.html.split('<div class="summary">')[1].split("</div>")[0].count("<p>") == 3


def test_every_trial_stands_in_the_leaderboard(page: Page, finished: Finished) -> None:
    part = finished.html.split('id="leaderboard-table"')[1].split("</table>")[0]
    rows = part.split("<tbody>")[1].count("<tr")
    assert rows == len(finished.result.trials)
    assert part.count('class="marked"') == 1
    first = re.search(r'<td class="num" data-v="([\d.e-]+)">0\.\d{4} \[', part)
    assert first and float(first[1]) == finished.result.leaderboard["score"][0]


def test_the_proof_is_kept_row_by_row(finished: Finished) -> None:
    table = pq.read_table(finished.result.folder / "data" / "proof.parquet")
    assert table.num_rows == len(finished.test)
    # Held-out rows keep their place in the user's data.
    assert table.column("target").to_pylist() == [finished.test[at]["intent"] for at in table.column("row").to_pylist()]
    right = np.array(table.column("right").to_pylist())
    assert right.mean() == pytest.approx(finished.result.summary["test"]["score"])
    assert np.mean(table.column("default_right").to_pylist()) == pytest.approx(
        finished.result.summary["default"]["score"]
    )
    loss = finished.result.summary["test"]["scores"]["log_loss"]
    assert np.mean(table.column("loss").to_pylist()) == pytest.approx(loss, rel=1e-4)
    written = str(table.to_pydict())
    assert not any(text[:40] in written for text in HOSTILE), "no text of a row"
    assert {"score", "default_prediction", "default_score"} <= set(table.column_names)


def test_scores_by_given_columns(page: Page, finished: Finished) -> None:
    table = finished.result.plan.data.given_table(finished.result.plan.data.held_out()[1])  # type: ignore[index]
    assert isinstance(table, pa.Table)
    # The input, the target, and what differs in every row divide nothing.
    assert table.column_names == ["chan<i>nel"]
    assert table.column(0).to_pylist() == [row["chan<i>nel"] for row in finished.test]
    part = finished.html.split('id="slices-numbers"')[1].split("</table>")[0]
    assert "chan&lt;i&gt;nel" in part and "app&lt;/script&gt;" in part
    on_web = [row["chan<i>nel"] == "web" for row in finished.test]
    right = pq.read_table(finished.result.folder / "data" / "proof.parquet").column("right").to_pylist()
    score = np.mean([ok for ok, web in zip(right, on_web, strict=True) if web])
    assert f"{score:.4f} [" in part


def test_the_result_names_its_report(finished: Finished) -> None:
    assert finished.result.report == finished.result.folder / "report.html"
    assert f"Report    {finished.result.report}" in str(finished.result)
    assert not (finished.result.folder / "report.log").exists()
    assert not [note for note in finished.notes if "report" in note]
