"""The page in a real browser: no errors, sorting tables, text that can be selected, light, dark, wide and narrow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.studies import made_up_study
from trtkit.report.page import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        # Chromium's sandbox refuses to start as root, which containers are.
        running = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(made_up_study(batches=(1, 8, 128)), tmp_path_factory.mktemp("study"))[0]


def open_page(browser: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> Any:
    """The page, with everything that the console says and everything that is fetched."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.said, page.fetched = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.fetched.append(request.url))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_errors_no_network_no_sideways_scrolling(browser: Any, path: Path, width: int, scheme: str) -> None:
    page = open_page(browser, path, width=width, scheme=scheme)
    assert page.said == []
    assert [url for url in page.fetched if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    figures = page.locator("figure svg")
    assert figures.count() >= 10
    for index in range(figures.count()):
        box = figures.nth(index).bounding_box()
        assert 200 < box["width"] <= width and box["height"] > 80
    page.close()


def test_the_results_show_verdict_and_accuracy_without_scrolling(browser: Any, tmp_path: Path) -> None:
    plain = made_up_study(("squeezenet1_1",), ("fp32", "fp16", "int8"), (1, 4, 8), devices=("cpu",), name="AMD EPYC")
    everything = made_up_study(batches=(1, 8, 128), modes=("compute", "overlapped"))
    for study, all_of_it in ((plain, True), (everything, False)):
        page = open_page(browser, write_report(study, tmp_path)[0])
        room = page.evaluate("document.getElementById('runs').parentElement.getBoundingClientRect().right")
        assert not all_of_it or page.evaluate("document.getElementById('runs').getBoundingClientRect().right") <= room
        for name in ("Verdict", "SQNR dB"):
            header = page.locator("#runs th").filter(has_text=name).bounding_box()
            assert header["x"] + header["width"] <= room, name
        page.close()


def _lightness(page: Any, selector: str, what: str) -> float:
    script = "([s, what]) => getComputedStyle(document.querySelector(s))[what].match(/[0-9.]+/g).map(Number)"
    return sum(page.evaluate(script, [selector, what])[:3]) / 3


def test_dark_follows_the_system_and_the_button(browser: Any, path: Path) -> None:
    paper, ink = ("body", "backgroundColor"), ("figure svg text", "fill")
    page = open_page(browser, path, scheme="dark")
    assert _lightness(page, *paper) < 60 and _lightness(page, *ink) > 180
    page.click("#theme")
    assert _lightness(page, *paper) > 240 and _lightness(page, *ink) < 60
    page.close()


def column(page: Any, table: str, number: int) -> list[str]:
    return page.locator(f"#{table} tbody tr td:nth-child({number})").all_inner_texts()


def test_tables_sort_by_number_and_by_name(browser: Any, path: Path) -> None:
    page = open_page(browser, path)
    header = page.locator("#runs th").nth(4)
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"

    def numbers() -> list[float]:
        return [float(text.replace(",", "")) for text in column(page, "runs", 5) if text != "–"]

    assert numbers() == sorted(numbers(), reverse=True) and len(numbers()) > 20
    assert column(page, "runs", 5)[-1] == "–", "what has no number stays behind"
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending" and numbers() == sorted(numbers())
    assert column(page, "runs", 5)[-1] == "–"
    page.locator("#runs th button").nth(0).click()
    assert column(page, "runs", 1) == sorted(column(page, "runs", 1))
    page.close()


def test_rows_can_be_filtered(browser: Any, path: Path) -> None:
    page = open_page(browser, path)
    page.fill("input[data-for=runs]", "alexnet int8")
    shown = page.locator("#runs tbody tr:visible")
    assert 0 < shown.count() < page.locator("#runs tbody tr").count()
    assert all("alexnet" in text for text in shown.locator("td:first-child").all_inner_texts())
    page.close()


def test_text_of_figures_and_tables_can_be_selected(browser: Any, path: Path) -> None:
    page = open_page(browser, path)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#figure-throughput-1 svg'))")
    assert "FP32" in page.evaluate("getSelection().toString()")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#runs'))")
    assert "googlenet" in page.evaluate("getSelection().toString()")
    page.close()


def test_a_number_opens_the_run_it_came_from(browser: Any, path: Path) -> None:
    page = open_page(browser, path)
    link = page.locator("#runs tbody a").first
    name = link.get_attribute("href")[1:]
    assert page.evaluate("name => document.getElementById(name).open", name) is False
    link.click()
    page.wait_for_function("name => document.getElementById(name).open", arg=name)
    assert "raw samples" in page.evaluate("name => document.getElementById(name).innerText", name)
    bar = page.locator("#figure-throughput-1 svg a").first
    assert bar.get_attribute("xlink:href").startswith("#run-")
    page.close()


def test_it_prints_in_dark_ink_on_white_paper(browser: Any, path: Path) -> None:
    page = open_page(browser, path, scheme="dark")
    page.emulate_media(media="print")
    assert _lightness(page, "figure svg text", "fill") < 60
    assert page.locator("#theme").is_hidden() and page.locator("#runs-detail").is_hidden()
    assert len(page.pdf()) > 50_000
    page.close()
