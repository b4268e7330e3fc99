"""The leaderboard in a real browser, opened from the disk."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from m2l_bench.report import build as build_module
from m2l_bench.report.build import build

from . import browser as chromium
from .synthetic import HOSTILE
from .test_board import latent_run, lines_of, page_of, two_runs

SYSTEMS = [HOSTILE, "pca", "opus:12k", "opus:48k"]  # by SI-SDR, the best first
ANCHORS = ["identity", "majority"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:  # figures take most of the time
        patch.setattr(build_module, "all_figures", lambda results, pairs, clips: iter(()))
        return build(two_runs(folder), out=folder / "out").with_name("board.html")


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = chromium.start(width=1280, height=900, downloads=tmp_path_factory.mktemp("downloads"))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chrome: webdriver.Chrome, page: Path) -> Iterator[webdriver.Chrome]:
    with chromium.visit(chrome, page.as_uri()) as visited:
        yield visited


def shown(browser: webdriver.Chrome) -> list[str]:
    """Names in the lines that can be seen, in their order."""
    lines = browser.find_elements(By.CSS_SELECTOR, "tr[data-system]")
    return [
        str(line.find_element(By.TAG_NAME, "th").get_attribute("data-name")) for line in lines if line.is_displayed()
    ]


def ranks(browser: webdriver.Chrome, column: int) -> dict[str, str]:
    """Ranks that can be seen in a column, and their systems."""
    script = """
    const lines = [...document.querySelectorAll(".part:not([hidden]) tr[data-system]:not([hidden])")];
    const found = lines.map((line) => [line.cells[0].dataset.name, line.cells[arguments[0]].querySelector(".rank")]);
    const marks = found.filter(([, mark]) => mark?.checkVisibility());
    return Object.fromEntries(marks.map(([name, mark]) => [name, mark.textContent]));
    """
    return browser.execute_script(script, column)  # type: ignore[no-any-return]


def head(browser: webdriver.Chrome, title: str) -> tuple[int, webdriver.remote.webelement.WebElement]:
    """Place and button of the column whose head starts with a title, in the part that is shown."""
    buttons = browser.find_elements(By.CSS_SELECTOR, ".part:not([hidden]) thead button")
    place = next(at for at, button in enumerate(buttons) if button.text.startswith(title))
    return place, buttons[place]


def test_ranks_are_those_that_were_written(browser: webdriver.Chrome, page: Path) -> None:
    assert browser.find_element(By.TAG_NAME, "h1").text == "Leaderboard: synthetic"
    assert shown(browser) == [*SYSTEMS, *ANCHORS]
    written = lines_of(page.read_text(), "reconstruction/noise")
    for title in ("SI-SDR", "Mel distance"):
        column, _ = head(browser, title)
        found = ranks(browser, column)
        assert found == {system: written[system][column].split()[0] for system in SYSTEMS}
    assert ranks(browser, head(browser, "FAD")[0]) == {} == ranks(browser, head(browser, "Lag")[0])
    assert browser.find_element(By.ID, "status").text == "4 of 4 systems shown."
    assert browser.execute_script("return document.querySelectorAll('main script, main img').length") == 0


FILTERS = [
    ("compression", "32 to 64 x", ["pca"]),
    ("compression", "not stated", ["opus:12k"]),
    ("compression", "unknown", [HOSTILE, "opus:48k"]),
    ("bits", "32 to 64 kbit/s", ["opus:48k"]),
    ("bits", "not measured", [HOSTILE, "pca"]),
    ("rate", "44.1 kHz", ["pca"]),
    ("licence", "BSD-3-Clause", ["opus:12k"]),
    ("run", "alice", [HOSTILE, "pca", "opus:12k"]),
    ("run", "bob", ["opus:48k"]),
]


def test_filters(browser: webdriver.Chrome) -> None:
    """One after the other on one page, each after a reset: loading it takes longer than choosing."""
    for select, option, systems in FILTERS:
        chromium.choose(browser, select, option)
        assert shown(browser) == [*systems, *ANCHORS], option
        assert browser.find_element(By.ID, "status").text.startswith(f"{len(systems)} of 4 systems shown. ")
        browser.find_element(By.ID, "reset").click()
        assert shown(browser) == [*SYSTEMS, *ANCHORS], option


def test_ranks_are_those_among_the_systems_shown(browser: webdriver.Chrome) -> None:
    column, _ = head(browser, "SI-SDR")
    everything = {HOSTILE: "1", "pca": "2", "opus:12k": "3\N{EN DASH}4", "opus:48k": "3\N{EN DASH}4"}
    assert ranks(browser, column) == everything
    chromium.choose(browser, "run", "bob")
    assert ranks(browser, column) == {"opus:48k": "1"}
    chromium.choose(browser, "run", "alice")
    assert ranks(browser, column) == {HOSTILE: "1", "pca": "2", "opus:12k": "3"}
    chromium.choose(browser, "compression", "unknown")  # both filters hold
    assert shown(browser) == [HOSTILE, *ANCHORS] and ranks(browser, column) == {HOSTILE: "1"}
    chromium.choose(browser, "bits", "32 to 64")
    assert shown(browser) == ANCHORS
    assert browser.find_element(By.ID, "status").text.startswith(
        "0 of 4 systems shown. Compression: unknown. Bit rate: 32 "
    )
    browser.find_element(By.ID, "reset").click()
    assert ranks(browser, column) == everything


def test_a_metric_is_shown_alone_and_sorts(browser: webdriver.Chrome) -> None:
    chromium.choose(browser, "metric", "bit rate")
    heads = browser.find_elements(By.CSS_SELECTOR, ".part:not([hidden]) thead th")
    visible = [cell for cell in heads if cell.is_displayed()]
    assert [cell.text.split("\n")[0].split()[0] for cell in visible] == ["system", "bit"]
    assert visible[1].get_attribute("aria-sort") == "ascending"
    assert shown(browser)[:2] == ["opus:12k", "opus:48k"]  # those without one follow
    chromium.choose(browser, "metric", "SI-SDR")
    assert shown(browser) == [*SYSTEMS, *ANCHORS]
    chromium.choose(browser, "metric", "all")
    assert all(cell.is_displayed() for cell in heads)


def test_a_task(browser: webdriver.Chrome) -> None:
    chromium.choose(browser, "part", "genre/noise")
    titles = [element.text for element in browser.find_elements(By.CSS_SELECTOR, ".part h3") if element.is_displayed()]
    assert titles == ["genre/noise"]
    column, _ = head(browser, "Accuracy")
    assert set(ranks(browser, column)) == set(SYSTEMS) and ranks(browser, column)[HOSTILE] == "1\N{EN DASH}2"
    assert ranks(browser, head(browser, "Macro F1")[0]) == {}
    options = browser.find_elements(By.CSS_SELECTOR, "#metric option")
    assert [option.text.split()[0] for option in options] == ["all", "Accuracy", "Macro"]
    chromium.choose(browser, "bits", "up to 16")  # no bit rate was measured here
    assert shown(browser) == ANCHORS[::-1]  # by accuracy


def test_the_keyboard_sorts_and_walks_over_what_is_shown(browser: webdriver.Chrome) -> None:
    chromium.choose(browser, "run", "alice")
    _, button = head(browser, "SI-SDR")
    cell = button.find_element(By.XPATH, "..")
    best_first = SYSTEMS[:3]
    assert (cell.get_attribute("aria-sort"), shown(browser)) == ("descending", [*best_first, *ANCHORS])
    for state in ("ascending", None, "descending", "ascending"):
        button.send_keys(Keys.ENTER)
        assert cell.get_attribute("aria-sort") == state
        assert shown(browser)[:3] == (best_first[::-1] if state == "ascending" else best_first)
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    words = browser.find_element(By.CSS_SELECTOR, ".part:not([hidden]) .words")
    assert words.text.startswith("opus:12k, SI-SDR (dB) ↑: 3.6 (95% interval") and words.text.endswith("rank 3 of 3")
    for _ in range(3):  # over the line that is hidden, to the anchors
        browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert words.text.startswith("majority, SI-SDR") and "rank" not in words.text
    chromium.choose(browser, "metric", "SI-SDR")
    visible = [found for found in browser.find_elements(By.CSS_SELECTOR, "tr[data-system] td") if found.is_displayed()]
    visible[1].click()
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)  # over the column that is hidden
    assert browser.switch_to.active_element.get_attribute("data-name") == SYSTEMS[1]


def test_pages_lead_to_each_other(browser: webdriver.Chrome, page: Path) -> None:
    browser.find_element(By.CSS_SELECTOR, ".part:not([hidden]) a[aria-label='Definition of SI-SDR']").click()
    assert browser.find_element(By.CSS_SELECTOR, "article:target").is_displayed()
    browser.find_element(By.LINK_TEXT, "Leaderboard").click()
    assert browser.current_url == page.as_uri()
    browser.find_element(By.LINK_TEXT, "Report").click()
    assert browser.current_url == page.with_name("index.html").as_uri()


def test_nothing_to_rank(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    page.write_text(page_of(latent_run(tmp_path / "run")), encoding="utf-8")
    browser.get(page.as_uri())
    assert browser.find_elements(By.TAG_NAME, "table") == []


def test_phone(browser: webdriver.Chrome) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    box = browser.find_element(By.CSS_SELECTOR, ".part:not([hidden]) .scroll")
    name = box.find_element(By.CSS_SELECTOR, "tbody tr[data-system] th")
    before = name.location["x"]
    browser.execute_script("arguments[0].scrollLeft = 150", box)
    assert browser.execute_script("return arguments[0].scrollLeft", box) == 150 and name.location["x"] == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: webdriver.Chrome, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.refresh()  # without the transition of colours
    ratio, where, background = browser.execute_script(chromium.CONTRAST)
    assert ratio >= 4.5, where
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_paper(browser: webdriver.Chrome) -> None:
    chromium.choose(browser, "run", "alice")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    for gone in ("nav", "#controls"):
        assert not browser.find_element(By.CSS_SELECTOR, gone).is_displayed(), gone
    assert browser.find_element(By.ID, "status").text == "3 of 4 systems shown. Run: alice."
    widths = "return Array.from(document.querySelectorAll('table.sortable'), (t) => t.getBoundingClientRect().width)"
    assert 0 < max(browser.execute_script(widths)) <= 1047  # CSS pixels: A4 landscape without its margins
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF") and b"/MediaBox [0 0 841.9" in pdf


def test_everything_has_a_name_for_a_screen_reader(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {"button", "combobox", "table", "link", "region", "form", "columnheader", "rowheader"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in wanted]
    assert {node["role"]["value"] for node in controls} == wanted
    assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == []
    levels = browser.execute_script(
        "return Array.from(document.querySelectorAll('h1, h2, h3'), (h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
