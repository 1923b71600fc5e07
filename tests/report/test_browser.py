"""The report in a real browser: it fetches nothing, sorts, filters, follows the keyboard and the theme, and prints.

Needs Chromium: the one that PLAYWRIGHT_CHROMIUM_PATH names, else `chromium` on the path. With CI set, none is an error.
Pictures for people to look at go to the folder that AUTOSFT_TEST_PICTURES names, where there is one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_data import SCRIPT, Finished
from PIL import Image

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = os.environ.get("PLAYWRIGHT_CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        assert not os.environ.get("CI"), "there is no Chromium: install it, or set PLAYWRIGHT_CHROMIUM_PATH"
        pytest.skip("there is no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A sandbox of its own Chromium has for everybody but root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


class Opened:
    """A page with everything that it asked for and complained about."""

    def __init__(self, browser: Any, finished: Finished, **options: Any) -> None:
        options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.url = finished.result.report.as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def background(self) -> str:
        return str(self.page.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.fixture
def opened(browser: Any, finished: Finished) -> Iterator[Opened]:
    found = Opened(browser, finished)
    yield found
    assert found.requests == [found.url], "the report is one file and asks for no other"
    assert not found.complaints
    found.context.close()


def column(page: Any, table: str, at: int) -> list[str]:
    rows = f"#{table} tbody tr:not([hidden]) td:nth-child({at})"
    return [text.strip() for text in page.locator(rows).all_inner_texts()]


def test_it_opens_draws_and_fetches_nothing(opened: Opened) -> None:
    page = opened.page
    assert page.title().startswith(f"Sort {SCRIPT}")
    for plot in page.locator("figure .plot").all():
        assert plot.locator("svg.main-svg").count() >= 1
    assert SCRIPT in page.locator("#errors-table").inner_text()
    assert page.evaluate("document.querySelectorAll('#errors-table script, #errors-table img').length") == 0


def test_columns_sort_by_mouse_and_keyboard(opened: Opened) -> None:
    page = opened.page
    header = page.locator("#leaderboard-table th", has_text="seconds")
    at = 1 + page.evaluate("name => [...document.querySelectorAll('#leaderboard-table th')].findIndex(th => "
                           "th.textContent.trim() === name)", "seconds")  # fmt: skip
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    falling = [float(text) for text in column(page, "leaderboard-table", at)]
    assert falling == sorted(falling, reverse=True)
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    rising = [float(text) for text in column(page, "leaderboard-table", at)]
    assert rising == sorted(rising) and sorted(rising) == sorted(falling)
    page.locator("#leaderboard-table th button", has_text="settings").click()
    assert header.get_attribute("aria-sort") is None, "one column is sorted at a time"
    words = column(page, "leaderboard-table", 4)
    assert words.index("untuned default") == len(words) - 1, "words sort as words, from a to z"


def test_the_leaderboard_filters(opened: Opened, finished: Finished) -> None:
    page = opened.page
    total = len(finished.result.trials)
    output = page.locator(".filters output")
    assert output.inner_text() == f"all {total} shown"
    page.locator(".filters input").fill("untuned default")
    assert output.inner_text() == f"1 of {total} shown"
    assert page.locator("#leaderboard-table tbody tr:visible").count() == 1
    page.locator(".filters input").fill("")
    page.locator(".filters select").nth(1).select_option("complete")
    assert output.inner_text() == f"all {total} shown"
    page.locator(".filters input").fill("no such words")
    assert output.inner_text() == f"0 of {total} shown"


def test_the_keyboard_reaches_everything_and_is_seen(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0, "the skip link is seen once it has the focus"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        tag, outline = page.evaluate(
            "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none", f"the focus on {tag} cannot be seen"
        seen.add(tag)
    assert {"INPUT", "SELECT", "BUTTON", "DIV"} <= seen


def test_the_theme_follows_the_system_and_the_button(browser: Any, finished: Finished) -> None:
    dark = Opened(browser, finished, color_scheme="dark")
    assert dark.page.locator("html").get_attribute("data-theme") == "dark"
    ground = dark.background()
    text = "getComputedStyle(document.querySelector('.plot .xtick text, .plot .ytick text')).fill"
    before = dark.page.evaluate(text)
    dark.page.emulate_media(color_scheme="light")
    dark.page.wait_for_selector("html[data-theme=light]", state="attached")
    assert dark.background() != ground and dark.page.evaluate(text) != before, "figures follow the theme too"
    dark.page.locator("button.theme").click()
    assert dark.page.locator("html").get_attribute("data-theme") == "dark" and dark.background() == ground
    assert not dark.complaints
    dark.context.close()


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_no_window_scrolls_sideways(browser: Any, finished: Finished, width: int) -> None:
    found = Opened(browser, finished, viewport={"width": width, "height": 800})
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    wide = found.page.evaluate(
        "[...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll, .plot-frame, .sr, svg') && "
        "one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"
    )
    assert wide == []
    found.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width"), [("wide", 1280), ("narrow", 390)])
def test_pictures_of_the_whole_page_have_its_theme_and_fit(
    browser: Any, finished: Finished, tmp_path: Path, theme: str, name: str, width: int
) -> None:
    found = Opened(browser, finished, color_scheme=theme, viewport={"width": width, "height": 900})
    folder = Path(os.environ.get("AUTOSFT_TEST_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"report-{theme}-{name}.png"
    found.page.screenshot(path=path, full_page=True)
    assert found.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"))
    assert grey.shape[1] == width, "nothing widens the page"
    # A sharp mean, and that no screenful of it is of one colour.
    assert grey.mean() > 200 if theme == "light" else grey.mean() < 70
    screens = [grey[top : top + 900] for top in range(0, len(grey), 900)]
    assert len(screens) > 2 and all(screen.std() > 2 for screen in screens if len(screen) > 300), "part of it is blank"
    assert not found.complaints
    found.context.close()


def test_print_shows_everything_in_light(browser: Any, finished: Finished) -> None:
    found = Opened(browser, finished, color_scheme="dark")
    page = found.page
    page.locator(".filters input").first.fill("no such words")
    page.emulate_media(media="print")
    page.wait_for_selector("html[data-theme=light]", state="attached")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert not page.locator("nav.contents").is_visible() and not page.locator(".filters").first.is_visible()
    rows = page.locator("#leaderboard-table tbody tr")
    assert rows.count() == page.locator("#leaderboard-table tbody tr:visible").count(), "paper has no filter"
    assert len(page.pdf(format="A4")) > 50_000
    page.emulate_media(media="screen")
    page.wait_for_selector("html[data-theme=dark]", state="attached")
    assert page.locator("details[open]").count() == 0, "what was closed is closed again"
    found.context.close()


def test_without_scripts_the_numbers_are_there(browser: Any, finished: Finished) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(finished.result.report.as_uri())
    assert page.locator("#leaderboard-table tbody tr").count() == len(finished.result.trials)
    assert page.locator(".said.warning", has_text="runs no scripts").is_visible()
    assert not page.locator(".filters").first.is_visible(), "what does nothing is not shown"
    context.close()
