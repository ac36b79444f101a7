"""The page as a browser sees it: every figure is there, nothing overflows, and the console stays empty."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.corpora.audio import SAMPLE_RATE, mp3
from study.report.blocks import Audio, Page, Section
from study.report.export import write
from study.report.facts import Facts
from study.report.page import build
from study.store.storage import open_storage
from tests.study import toy_report as toy

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver")
WIDTHS = (1280, 375)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    """A toy study's page, with an excerpt to play."""
    built = build(Facts(toy.write_study(tmp_path_factory.mktemp("store"))))
    tone = (8000 * np.sin(np.arange(2 * SAMPLE_RATE) * 2 * np.pi * 440 / SAMPLE_RATE)).astype(np.int16)
    excerpts = Section(
        key="excerpts", title="Songs", says="A tone.", blocks=[Audio(key="a", caption="A", mp3=mp3(tone))]
    )
    return replace(built, sections=[*built.sections, excerpts])


@pytest.fixture(scope="module")
def address(page, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page")
    return Path(write(page, open_storage(folder), "report", own=True)).as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    quiet = ("background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
    for argument in ("headless", "no-sandbox", "no-first-run", f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    for argument in quiet:
        options.add_argument(f"--disable-{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in ("light", "dark")], ids=str)
def opened(request, browser, address):
    width, scheme = request.param
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(address)
    return browser


def test_every_figure_and_table_is_drawn_and_the_console_is_empty(opened, page):
    assert page.figures and page.tables
    for figure in page.figures:
        box = opened.execute_script(
            "const one = document.querySelector(`#figure-${arguments[0]} svg`).getBoundingClientRect();"
            "return [one.width, one.height]",
            figure.key,
        )
        assert min(box) > 50, figure.key
    for table in page.tables:
        count = "return document.querySelectorAll(`#table-${arguments[0]} tbody tr`).length"
        assert opened.execute_script(count, table.key) == len(table.rows)
    assert opened.get_log("browser") == []


def test_the_page_never_scrolls_sideways_and_its_words_can_be_read(opened):
    # Not innerWidth: a browser widens that to what it has to show.
    sideways = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
    assert opened.execute_script(sideways) == 0
    opened.execute_script("document.body.insertAdjacentHTML('beforeend', '<div style=\"width: 3000px\">wide</div>')")
    assert opened.execute_script(sideways) > 1000
    opened.refresh()
    ink, paper = opened.execute_script(
        "const style = getComputedStyle(document.documentElement); return [style.color, style.backgroundColor]"
    )
    assert contrast(ink, paper) > 7  # WCAG 2, level AAA


def test_a_click_on_a_heading_sorts_and_another_one_turns_it_round(opened):
    rows = "[...document.querySelectorAll('#table-all-tags tbody tr')]"
    values = f"return {rows}.map((row) => parseFloat(row.cells[1].textContent))"
    click = "document.querySelectorAll('#table-all-tags thead button')[1].click()"
    opened.execute_script(click)
    down = opened.execute_script(values)
    opened.execute_script(click)
    assert down == sorted(down, reverse=True) and opened.execute_script(values) == sorted(down) and len(set(down)) > 1


def test_an_excerpt_can_be_played(opened):
    length = opened.execute_async_script(
        "const done = arguments[0]; const one = document.querySelector('audio'); one.preload = 'metadata';"
        "one.onloadedmetadata = () => done(one.duration); one.onerror = () => done(0); one.load()"
    )
    assert 1.9 < length < 2.2


def contrast(one: str, other: str) -> float:
    """Of two colours as a browser tells them (WCAG 2)."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
