"""The report page in a real browser, opened from the disk."""

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
from m2l_bench.report.runs import natural_key

from . import browser as chromium
from .synthetic import SYSTEMS, clip_names, make_audio, make_run
from .test_page_in_browser import wait_for

N_FILES = 130  # more than the page makes at a time


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("page") / "run", n_clips=N_FILES, probes=True)
    make_audio(run, n_clips=3, seconds=2.0)
    with pytest.MonkeyPatch.context() as patch:  # figures take most of the time; two are enough
        patch.setattr(build_module, "all_figures", lambda *given: list(all_figures(*given))[:2])
        return build([run])


all_figures = build_module.all_figures


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = chromium.start(width=1280, height=900, downloads=tmp_path_factory.mktemp("downloads"))
    browser.set_script_timeout(60)
    yield browser
    browser.quit()


@pytest.fixture
def browser(chrome: webdriver.Chrome, page: Path) -> Iterator[webdriver.Chrome]:
    with chromium.visit(chrome, page.as_uri()) as visited:
        yield visited


def column(browser: webdriver.Chrome, table: str, place: int) -> list[float | None]:
    script = (
        "return Array.from(document.querySelectorAll(arguments[0] + ' tbody tr:not(.group)'),"
        " (line) => line.cells[arguments[1]].dataset.value ?? null)"
    )
    return [None if value is None else float(value) for value in browser.execute_script(script, table, place)]


def open_files(browser: webdriver.Chrome) -> None:
    browser.execute_script("document.getElementById('files').scrollIntoView()")
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "#rows tr"))


def test_opens_without_an_error_and_with_its_figures(browser: webdriver.Chrome) -> None:
    assert browser.find_element(By.TAG_NAME, "h1").text == "Report: synthetic"
    assert browser.execute_script("return document.querySelectorAll('main script, td img').length") == 0
    browser.execute_script("document.getElementById('figures').scrollIntoView()")
    loaded = "return [...document.querySelectorAll('figure img')].filter((image) => image.naturalWidth > 100).length"
    wait_for(lambda: browser.execute_script(loaded) == 2)


def test_a_click_on_a_head_sorts_the_best_first_then_the_worst_then_as_before(browser: webdriver.Chrome) -> None:
    table = "#table-reconstruction-noise"
    heads = browser.find_elements(By.CSS_SELECTOR, f"{table} thead th")
    titles = [head.text.split("\n")[0] for head in heads]
    place = next(at for at, title in enumerate(titles) if title.startswith("Mel"))
    before = column(browser, table, place)
    wanted = sorted(before)  # type: ignore[type-var]
    assert before != wanted
    for state, values in (("ascending", wanted), ("descending", wanted[::-1]), (None, before)):
        heads[place].find_element(By.TAG_NAME, "button").click()
        assert (heads[place].get_attribute("aria-sort"), column(browser, table, place)) == (state, values)
    rate = next(at for at, title in enumerate(titles) if title.startswith("bit rate"))
    for _ in range(2):  # what was not measured comes last, whatever the direction
        heads[rate].find_element(By.TAG_NAME, "button").click()
        assert [value is None for value in column(browser, table, rate)] == [False] * 3 + [True] * 3
    assert browser.current_url.endswith("index.html")


def test_sorting_keeps_the_groups(browser: webdriver.Chrome) -> None:
    table = "#table-reconstruction-noise-by-bit-rate"
    names = "return Array.from(document.querySelectorAll(arguments[0] + ' tbody'), (b) => b.rows[0].textContent.trim())"
    before = browser.execute_script(names, table)
    browser.find_elements(By.CSS_SELECTOR, f"{table} thead button")[0].click()
    assert (
        browser.execute_script(names, table)
        == before
        == ["up to 16 kbit/s", "32 to 64 kbit/s", "64 to 128 kbit/s", "others"]
    )
    last = browser.find_elements(By.CSS_SELECTOR, f"{table} tbody:last-child tr:not(.group) th")
    assert [name.text.split("<")[0] for name in last] == sorted(
        (name.text.split("<")[0] for name in last), key=natural_key
    )


def test_keyboard_sorts_and_walks_through_a_table(browser: webdriver.Chrome) -> None:
    table = "#table-reconstruction-noise"
    button = browser.find_elements(By.CSS_SELECTOR, f"{table} thead button")[2]
    button.send_keys(Keys.ENTER)
    head = browser.find_elements(By.CSS_SELECTOR, f"{table} thead th")[2]
    assert head.get_attribute("aria-sort") == "descending"  # SI-SDR: higher is better
    active = browser.switch_to.active_element
    active.send_keys(Keys.ARROW_DOWN)
    words = browser.find_element(By.CSS_SELECTOR, f"{table} .words")
    assert words.text.startswith("identity, SI-SDR (dB) ↑: 100.0 (95% interval 100.0 to 100.0); 130 of 130 items")
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert words.text.startswith("identity, Mel distance ↓: ")
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP)
    assert browser.switch_to.active_element == button


def test_a_definition_is_one_click_away(browser: webdriver.Chrome) -> None:
    link = browser.find_element(
        By.CSS_SELECTOR, "#table-reconstruction-noise thead a[aria-label='Definition of SI-SDR']"
    )
    link.click()
    card = browser.find_element(By.CSS_SELECTOR, "article:target")
    assert card.is_displayed() and "x | y" in card.text and "nobody 1900" in card.text


def test_files_come_in_slices_and_are_sorted_as_a_whole(browser: webdriver.Chrome) -> None:
    assert browser.find_elements(By.CSS_SELECTOR, "#rows tr") == []  # loaded only when they are near
    open_files(browser)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#rows tr")) == 100
    assert "130 files" in browser.find_element(By.ID, "status").text
    browser.execute_script("document.getElementById('more').click()")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#rows tr")) == N_FILES
    assert not browser.find_element(By.ID, "more").is_displayed()
    browser.execute_script("document.querySelectorAll('#head button')[5].click()")
    values = browser.execute_script("return view.lines.map((item) => view.values[4][item])")
    assert values == sorted(values, reverse=True)
    cells = "return Array.from(document.querySelectorAll('#rows tr'), (line) => line.cells[5].firstChild.textContent)"
    shown = [float(text) for text in browser.execute_script(cells)]
    assert shown == sorted(shown, reverse=True) and len(shown) == 100


def test_choosing_a_metric_and_a_dataset(browser: webdriver.Chrome) -> None:
    open_files(browser)
    line = "return document.querySelector('#rows tr').cells[2].firstChild.textContent"
    before = browser.execute_script(line)
    chromium.choose(browser, "metric", "Mel distance")
    wait_for(lambda: browser.execute_script(line) != before)
    assert "Mel distance" in browser.execute_script("return document.getElementById('caption').textContent")
    chromium.choose(browser, "dataset", "genre/noise")
    wait_for(lambda: "40 files" in browser.find_element(By.ID, "status").text)
    assert browser.find_element(By.CSS_SELECTOR, "#rows th").text == "tune00"


def test_clips_play_and_lead_to_the_listening_page(browser: webdriver.Chrome) -> None:
    open_files(browser)
    name = clip_names(3)[2]
    button = browser.find_element(By.CSS_SELECTOR, f"[aria-label='Play {SYSTEMS[1]}, {name}']")
    browser.execute_script("arguments[0].click()", button)
    wait_for(lambda: browser.execute_script("return document.getElementById('audio').currentTime > 0"))
    assert button.get_attribute("aria-pressed") == "true"
    assert browser.find_element(By.ID, "playing").text == f"{SYSTEMS[1]}, {name}"
    browser.execute_script("arguments[0].click()", button)
    wait_for(lambda: button.get_attribute("aria-pressed") == "false")
    link = browser.find_element(By.CSS_SELECTOR, f"[aria-label='Listen to {name} on the listening page']")
    browser.get(str(link.get_attribute("href")))
    focused = browser.switch_to.active_element
    assert str(focused.get_attribute("aria-label")).startswith(f"Play original, {name}")
    for back in ("Report", "Tables", "Files", "Definitions"):
        browser.find_element(By.LINK_TEXT, back).click()
        assert browser.find_element(By.TAG_NAME, "h1").text == "Report: synthetic"
        target = browser.current_url.partition("#")[2]
        assert (target == "") == (back == "Report")
        assert not target or browser.find_element(By.ID, target).is_displayed()
        browser.back()


def test_failed_scores_and_names_are_text(browser: webdriver.Chrome) -> None:
    open_files(browser)
    browser.execute_script("document.getElementById('more').click()")
    assert browser.execute_script("return document.querySelectorAll('#files img, #files tbody script').length") == 0
    names = browser.execute_script(
        "return Array.from(document.querySelectorAll('#rows th'), (th) => th.firstChild.textContent)"
    )
    assert clip_names(1)[0] in names and "\u202e" not in "".join(names)
    failed = browser.find_elements(By.CSS_SELECTOR, "#rows .failed")
    assert [(cell.text, cell.get_attribute("title")) for cell in failed] == [("failed", "silent reference")]


def test_phone(browser: webdriver.Chrome) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    open_files(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    box = "#table-reconstruction-noise .scroll"
    left = "return document.querySelector(arguments[0] + ' tbody th').getBoundingClientRect().left"
    before = browser.execute_script(left, box)
    group = "#table-reconstruction-noise-by-bit-rate"
    for several in (box, f"{group} .scroll"):
        browser.execute_script("document.querySelector(arguments[0]).scrollLeft = 200", several)
    assert browser.execute_script("return document.querySelector(arguments[0]).scrollLeft", box) == 200
    assert browser.execute_script(left, box) == before  # the systems stay
    name = "return document.querySelector(arguments[0] + ' tr.group span').getBoundingClientRect().left"
    assert 0 <= browser.execute_script(name, group) < 40  # and so do the names of groups


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: webdriver.Chrome, page: Path, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    open_files(browser)
    for address in (browser.current_url, page.with_name("report").joinpath("listen", "index.html").as_uri()):
        browser.get(address)
        wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "main button"))
        ratio, where, background = browser.execute_script(chromium.CONTRAST)
        assert ratio >= 4.5, where
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_paper(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    for gone in ("nav", "#files", ".hint"):
        assert not browser.find_element(By.CSS_SELECTOR, gone).is_displayed(), gone
    assert browser.execute_script("return [...document.querySelectorAll('details')].every((details) => details.open)")
    widths = "return Array.from(document.querySelectorAll('table.sortable'), (t) => t.getBoundingClientRect().width)"
    assert max(browser.execute_script(widths)) <= 1047  # CSS pixels: A4 landscape without its margins
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert not browser.execute_script(
        "return [...document.querySelectorAll('details')].some((details) => details.open)"
    )
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF") and b"/MediaBox [0 0 841.9" in pdf


def test_everything_has_a_name_for_a_screen_reader(browser: webdriver.Chrome) -> None:
    open_files(browser)
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {"button", "combobox", "table", "image", "link", "region", "columnheader", "rowheader"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in wanted]
    assert {node["role"]["value"] for node in controls} == wanted
    assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == []
    levels = browser.execute_script(
        "return Array.from(document.querySelectorAll('h1, h2, h3'), (h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
