"""The listening page in a real browser, opened from the disk."""

from __future__ import annotations

import base64
import csv
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.signal import correlate
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from m2l_bench.report.clips import Clip, read_manifest, write_clips
from m2l_bench.report.listening import write_page
from m2l_bench.report.runs import read_runs

from . import browser as chromium
from .synthetic import DATASET, HOSTILE, RATE, SYSTEMS, clip_names, make_audio, make_run

# Runs inside the page: plays through the page's own functions, offline and sample by sample.
_RENDER = """
const [seconds, switches, names, done] = [arguments[0], arguments[1], arguments[2], arguments[arguments.length - 1]];
(async () => {
  const buffers = player.buffers;
  const context = new OfflineAudioContext(1, Math.round(seconds * buffers[0].sampleRate), buffers[0].sampleRate);
  const graph = startTogether(context, buffers, { when: 0, offset: 0, current: switches[0][1] });
  for (const [at, track] of switches.slice(1))
    context.suspend(at).then(() => { crossfade(graph.tracks, track, context.currentTime); context.resume(); });
  const out = await context.startRendering();
  done(Array.from(out.getChannelData(0)));
})().catch((error) => done(String(error)));
"""

# Records what really leaves the speakers' side of the live graph.
_RECORD = """
const [seconds, done] = [arguments[0], arguments[arguments.length - 1]];
const context = player.context;
const recorder = context.createScriptProcessor(1024, 1, 1);
const blocks = [];
recorder.onaudioprocess = (event) => blocks.push(Array.from(event.inputBuffer.getChannelData(0)));
player.graph.master.connect(recorder);
recorder.connect(context.destination);
const tracks = [1, 2, 1, 0, 2, 1];
tracks.forEach((track, i) => setTimeout(() => player.select(track), 150 + 150 * i));
setTimeout(() => { recorder.disconnect(); done(blocks.flat()); }, seconds * 1000);
"""


PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


def build_page(run: Path) -> Path:
    """The page alone: tables and figures have tests of their own."""
    write_page(run / "page", read_runs([run]), read_manifest(run / "audio"), title="Listen")
    return run / "page" / "index.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("page") / "run", n_clips=6, probes=False)
    make_audio(run, n_clips=6, seconds=30.0)  # long enough that no slow machine reaches its end
    return build_page(run)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chrome(downloads: Path) -> Iterator[webdriver.Chrome]:
    browser = chromium.start(width=1280, height=900, downloads=downloads)
    browser.set_script_timeout(60)
    yield browser
    browser.quit()


@pytest.fixture
def browser(chrome: webdriver.Chrome, page: Path) -> Iterator[webdriver.Chrome]:
    with chromium.visit(chrome, page.as_uri() + "#test", schemes=("blob:",)) as visited:
        yield visited


def wait_for(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing after {seconds} s")


def play(browser: webdriver.Chrome, clip: int, place: int) -> None:
    browser.find_element(By.CSS_SELECTOR, f"tr[data-clip='{clip}'] button[data-place='{place}']").click()
    wait_for(lambda: browser.execute_script("return player.playing && player.position() > 0"))


def press(browser: webdriver.Chrome, key: str) -> None:
    browser.find_element(By.TAG_NAME, "body").send_keys(key)


def wide_page(folder: Path) -> Path:
    """A page of 16 systems and clips with long names."""
    rates = [f"opus:{rate}k" for rate in (6, 8, 12, 16, 24, 32, 48, 64, 96)]
    systems = (
        "identity",
        *rates,
        *(f"latmusic-style-{size}" for size in ("tiny", "small", "middle", "large", "a", "b")),
    )
    run = make_run(folder / "run", systems=systems, n_clips=2, probes=False)
    make_audio(run, systems=systems, n_clips=2, seconds=0.3)
    return build_page(run)


def waveform_height(browser: webdriver.Chrome) -> float:
    """Share of the waveform's rows that something is drawn in."""
    url = browser.execute_script("return document.getElementById('waveform').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return float(np.asarray(image.getchannel("A")).any(axis=1).mean())


def shows_a_value(slider: WebElement) -> bool:
    """Whether anything is drawn along a slider's middle."""
    with Image.open(io.BytesIO(slider.screenshot_as_png)) as image:
        middle = np.asarray(image.convert("RGB"))[image.height // 2, image.width // 8 : -image.width // 8]
    return len(np.unique(middle, axis=0)) > 1


def width(browser: webdriver.Chrome, pixels: int) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": pixels, "mobile": False})


def test_loads_from_disk_and_plays(browser: webdriver.Chrome) -> None:
    assert len(browser.find_elements(By.CSS_SELECTOR, "#rows tr")) == 6
    play(browser, 2, 3)
    state = "return [player.context.state, player.context.sampleRate, document.getElementById('status').textContent]"
    assert browser.execute_script(state) == ["running", RATE, ""]
    wait_for(lambda: browser.execute_script("return document.getElementById('spectrogram').naturalWidth") == 320)
    # Nothing in the names was taken for markup.
    names = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "#head th")]
    assert names == ["clip", "original", *SYSTEMS[:-1], HOSTILE]
    assert browser.execute_script("return document.querySelectorAll('#rows img, #head img, #rows script').length") == 0
    assert clip_names(6)[0] in browser.find_element(By.CSS_SELECTOR, "tr[data-clip='0'] th").text
    assert "\u202e" not in browser.find_element(By.ID, "rows").text


def test_systems_are_grouped_by_kind(browser: webdriver.Chrome) -> None:
    groups = browser.find_elements(By.CSS_SELECTOR, "#groups th")
    assert [(group.text, group.get_attribute("colspan")) for group in groups] == [
        ("references", "2"),  # the original and identity
        ("codecs", "3"),
        ("autoencoders", "2"),
    ]
    heads = browser.find_elements(By.CSS_SELECTOR, "#head th.begins")
    assert [head.text for head in heads] == ["original", "opus:12k", "pca"]
    assert [group.rect["x"] for group in groups] == [head.rect["x"] for head in heads]
    play(browser, 2, 1)
    buttons = browser.find_element(By.ID, "stimuli").text.split("\n")
    assert [buttons[at] for at in (0, 3, 7)] == ["references", "codecs", "autoencoders"]


def test_sixteen_systems_fit_and_names_of_clips_do_not_break(tmp_path: Path, browser: webdriver.Chrome) -> None:
    width(browser, 1400)
    browser.get(wide_page(tmp_path).as_uri())
    table, box = browser.find_element(By.ID, "clips"), browser.find_element(By.ID, "scroll")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#head th")) == 18
    assert table.size["width"] <= box.size["width"] <= 1400
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 1400
    assert box.get_attribute("tabindex") is None  # nothing to scroll: no stop of the tab key
    name = browser.find_element(By.CSS_SELECTOR, "#rows th")
    assert name.size["height"] < 45 and name.get_attribute("title") == clip_names(1)[0]
    width(browser, 900)  # too narrow: the table scrolls, the page does not, the names of clips stay
    wait_for(lambda: box.get_attribute("tabindex") == "0")
    left = name.rect["x"]
    browser.execute_script("arguments[0].scrollLeft = 200", box)
    assert browser.execute_script("return arguments[0].scrollLeft", box) == 200
    assert name.rect["x"] == left
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 900


def test_picture_of_what_plays(browser: webdriver.Chrome) -> None:
    play(browser, 2, 0)
    ticks = browser.find_elements(By.CSS_SELECTOR, "#axis span")
    assert [tick.text for tick in ticks] == ["0.1 kHz", "1 kHz"]
    assert ticks[0].rect["y"] > ticks[1].rect["y"]
    original = waveform_height(browser)
    assert 0.9 < original <= 1  # with equal loudness all are about as large as the largest
    play(browser, 2, 1)
    browser.find_element(By.ID, "level").click()
    # Identity is 0.3 times as large as the original, the largest 1.1 times
    assert 0.1 < waveform_height(browser) < 0.3
    image, canvas = browser.find_element(By.ID, "spectrogram"), browser.find_element(By.ID, "waveform")
    assert image.get_attribute("alt") == "Spectrogram of identity, album/002.wav"
    assert canvas.get_attribute("aria-label") == "Waveform of identity, album/002.wav"
    assert browser.find_element(By.ID, "what").text == "identity album/002.wav"


def test_a_click_on_the_picture_seeks(browser: webdriver.Chrome) -> None:
    play(browser, 2, 1)
    button = browser.find_element(By.CSS_SELECTOR, "tr[data-clip='2'] button[data-place='1']")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()  # the button of what plays pauses it
    assert browser.execute_script("return player.playing") is False
    assert button.get_attribute("aria-pressed") == "false"
    picture = browser.find_element(By.ID, "picture")
    for part in (0.25, 0.75):
        across = round((part - 0.5) * picture.size["width"])
        for down in (-picture.size["height"] // 3, picture.size["height"] // 3):  # spectrogram, waveform
            browser.execute_script("player.seek(0); showTime()")
            ActionChains(browser).move_to_element_with_offset(picture, across, down).click().perform()
            assert browser.execute_script("return player.position()") == pytest.approx(30.0 * part, abs=0.1)
    seek = browser.find_element(By.ID, "seek")
    assert float(str(seek.get_attribute("value"))) == pytest.approx(22.5, abs=0.1)
    seek.send_keys(Keys.ARROW_LEFT)
    assert browser.execute_script("return [player.position(), place]") == [pytest.approx(22.0, abs=0.1), 1]


def test_switches_without_a_gap(browser: webdriver.Chrome) -> None:
    play(browser, 2, 1)
    browser.execute_script("player.stop()")
    # Identity holds the original's samples: played through switches, the result must be the original without a seam.
    straight = np.array(browser.execute_async_script(_RENDER, 2.0, [[0, 0]]))
    switched = np.array(browser.execute_async_script(_RENDER, 2.0, [[0, 0], [0.5, 1], [0.8, 0], [1.1, 1], [1.4, 0]]))
    assert np.abs(straight).max() > 0.05
    assert np.abs(straight - switched).max() < 2e-4  # 16 bits, two gains rounded to 6 digits


def test_live_switching_keeps_the_level_and_the_time(browser: webdriver.Chrome) -> None:
    play(browser, 2, 1)
    recorded = np.array(browser.execute_async_script(_RECORD, 1.3))
    original = np.array(browser.execute_script("return Array.from(player.buffers[0].getChannelData(0))"))
    block = RATE // 25  # 40 ms
    levels = np.sqrt(np.mean(recorded[: len(recorded) // block * block].reshape(-1, block) ** 2, axis=1))
    assert levels[1:-1].min() > 0.5 * np.median(levels)
    # Where in the original is each tenth of a second of the recording? Its distance to the clock must not move.
    found = []
    for start in range(block, len(recorded) - RATE // 10, RATE // 10):
        piece = recorded[start : start + RATE // 10]
        found.append((int(np.argmax(correlate(original, piece, mode="valid"))) - start) / RATE)
    assert len(found) >= 8
    assert np.ptp(found) < 0.020
    [recorder] = chromium.errors(browser)
    assert "ScriptProcessorNode is deprecated" in recorder  # it is the test's own


def test_every_system_is_in_step(tmp_path: Path, browser: webdriver.Chrome) -> None:
    run = make_run(tmp_path / "run", systems=("a", "b", "c"), n_clips=2, probes=False)
    reference = np.zeros((2, RATE), dtype=np.float32)
    reference[:, RATE // 2] = 0.9
    clip = Clip(
        id=clip_names(1)[0],
        dataset=DATASET,
        sample_rate=RATE,
        reference=reference,
        estimates=dict.fromkeys("abc", reference),
    )
    write_clips(run / "audio", [clip], systems=["a", "b", "c"])
    browser.get(build_page(run).as_uri())
    play(browser, 0, 1)
    browser.execute_script("player.stop()")
    for track in range(4):
        rendered = np.array(browser.execute_async_script(_RENDER, 1.0, [[0, track]]))
        assert int(np.argmax(np.abs(rendered))) == RATE // 2


def test_keyboard(browser: webdriver.Chrome) -> None:
    state = "return [player.clip, place, player.playing, player.loopOn]"
    press(browser, " ")
    wait_for(lambda: browser.execute_script(state) == [0, 0, True, False])
    press(browser, "3")
    assert browser.execute_script(state)[:2] == [0, 3]
    press(browser, Keys.ARROW_RIGHT)
    assert browser.execute_script(state)[:2] == [0, 4]
    press(browser, Keys.ARROW_LEFT)
    press(browser, Keys.ARROW_LEFT)
    assert browser.execute_script(state)[:2] == [0, 2]
    assert browser.execute_script("return player.graph.tracks.map((t) => t === null)") == [False] * 6 + [True]
    browser.execute_script("player.seek(1.0)")
    press(browser, "[")
    browser.execute_script("player.seek(1.5)")
    press(browser, "]")
    start, end = browser.execute_script("return player.loop")
    assert 1.0 <= start < 1.3 <= end < 2.5
    time.sleep(2 * (end - start))
    assert start <= browser.execute_script("return player.position()") <= end + 0.02
    press(browser, "l")
    assert browser.execute_script(state)[3] is False
    press(browser, "n")
    wait_for(lambda: browser.execute_script(state)[:3] == [1, 2, True])
    press(browser, " ")
    assert browser.execute_script(state)[2] is False
    press(browser, "?")
    assert browser.find_element(By.ID, "help").is_displayed()


def test_tab_goes_through_table_and_player_and_the_focus_is_visible(browser: webdriver.Chrome) -> None:
    play(browser, 5, 6)
    state = "const at = document.activeElement; return [at.id || at.dataset.place, getComputedStyle(at).outlineStyle]"
    reached = []
    for _ in range(12):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(browser.execute_script(state))
    tools = ["previous", "play", "next", "loopstart", "loopend", "loop", "abxopen", "seek", "6"]
    assert [name for name, _ in reached[: len(tools)]] == tools
    assert {outline for _, outline in reached[: len(tools)]} == {"solid"}
    assert reached[-1][0] not in tools  # and out of the player again


def test_blind_mode_hides_names_and_ratings_download(downloads: Path, browser: webdriver.Chrome) -> None:
    play(browser, 2, 1)
    browser.find_element(By.ID, "blind").click()
    body = browser.execute_script(
        "return Array.from(document.querySelectorAll('body *:not(script)'), (node) => "
        "[...Array.from(node.attributes, (a) => a.value), node.children.length ? '' : node.textContent].join('|')).join('|')"
    )
    for system in SYSTEMS:
        assert system not in body
    assert "SI-SDR" not in browser.find_element(By.ID, "rows").text
    assert browser.execute_script("return document.getElementById('spectrogram').getAttribute('src')") is None
    waveform = browser.find_element(By.ID, "waveform")
    assert waveform.get_attribute("aria-label") == "Waveform of original, album/002.wav"
    # Every sample once, the original among them, in another order in other clips.
    orders = browser.execute_script("return data.clips.map((_, clip) => stimuli(clip))")
    assert all(order[0] == 0 and sorted(order[1:]) == list(range(7)) for order in orders[1:])
    assert sorted(orders[0][1:]) == [0, 1, 2, 3, 4, 5]  # one system failed on this clip
    assert len({tuple(order) for order in orders[1:]}) > 1
    sliders = browser.find_elements(By.CSS_SELECTOR, "tr[data-clip='2'] input[type=range]")
    outputs = browser.find_elements(By.CSS_SELECTOR, "tr[data-clip='2'] output")
    rated, button = browser.find_element(By.ID, "rated"), browser.find_element(By.ID, "csv")
    # Nothing is rated: sliders are empty, nothing counts, and there is nothing to download.
    assert [shows_a_value(slider) for slider in sliders] == [False] * 7
    assert {slider.get_attribute("aria-valuetext") for slider in sliders} == {"not rated"}
    assert {output.text for output in outputs} == {"\N{EN DASH}"}
    assert (rated.text, button.is_enabled()) == ("0 of 41 rated", False)
    assert browser.execute_script("return ratingsCsv().trim().split('\\n').length") == 1
    sliders[0].click()  # in the middle, where its value already is
    assert (outputs[0].text, rated.text, button.is_enabled()) == ("50", "1 of 41 rated", True)
    assert [shows_a_value(slider) for slider in sliders] == [True] + [False] * 6
    assert browser.execute_script("return ratingsCsv().trim().split('\\n').length") == 2
    for presses, slider in enumerate(sliders, start=1):
        slider.send_keys(Keys.ARROW_RIGHT * presses)
    browser.find_element(By.ID, "listener").send_keys('O"Neil, <b>')
    button.click()
    path = wait_for(lambda: next(iter(downloads.glob("ratings-test.csv")), None))
    with path.open(encoding="utf-8", newline="") as file:
        ratings = list(csv.DictReader(file))
    assert {line["listener"] for line in ratings} == {'O"Neil, <b>'}
    assert {line["system"] for line in ratings} == {*SYSTEMS, "hidden original"}
    by_sample = {line["sample"]: (line["system"], int(line["rating"])) for line in ratings}
    labels = ["hidden original", *SYSTEMS]
    assert by_sample == {"ABCDEFG"[i]: (labels[track], 51 + i) for i, track in enumerate(orders[2][1:])}
    assert sliders[6].get_attribute("aria-valuetext") == outputs[6].text == "57"


def test_abx(browser: webdriver.Chrome) -> None:
    play(browser, 2, 1)
    browser.find_element(By.ID, "abxopen").click()
    for _ in range(3):
        browser.execute_script("trial.x = 1")
        press(browser, "x")
        assert browser.find_elements(By.CSS_SELECTOR, "#stimuli [aria-checked=true], #rows button.on") == []
        assert browser.execute_script("return player.current") == 1
        browser.find_element(By.ID, "is_b").click()
    assert browser.find_element(By.ID, "abxscore").text == "3 of 3 right, p = 0.125"


def test_sorts_and_picks(browser: webdriver.Chrome) -> None:
    browser.execute_script(
        "const o = document.getElementById('order'); o.value = 'worst'; o.dispatchEvent(new Event('change'))"
    )
    scores = browser.execute_script("return order.map(sortValue)")
    assert scores == sorted(scores)
    pick = (
        "const m = document.getElementById('metric'); m.value = 'mel_distance'; m.dispatchEvent(new Event('change'));"
    )
    browser.execute_script(pick)
    distances = browser.execute_script("return order.map(sortValue)")
    assert distances == sorted(distances, reverse=True)


def test_phone(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    browser.refresh()
    assert [hint.is_displayed() for hint in browser.find_elements(By.CLASS_NAME, "keyboard")] == [False, False]
    # The settings are folded away, and open by a tap.
    order = browser.find_element(By.ID, "order")
    assert not order.is_displayed()
    browser.find_element(By.CSS_SELECTOR, "#settings summary").click()
    assert order.is_displayed()
    browser.find_element(By.CSS_SELECTOR, "#settings summary").click()
    cells = browser.find_elements(By.CSS_SELECTOR, "tr[data-clip='2'] button")
    assert [cell.text.split("\n")[0] for cell in cells] == ["original", *SYSTEMS]
    assert cells[1].text.split("\n")[1] == "▶\ufe0e 100"
    play(browser, 2, 1)
    # Two lines at the bottom of the screen: what plays, and where.
    player = browser.find_element(By.ID, "player")
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", player)
    assert box["height"] < 110 and box["bottom"] == 844
    assert browser.find_element(By.ID, "waveform").is_displayed() and waveform_height(browser) > 0.2
    more, tools = browser.find_element(By.ID, "expand"), ["loopstart", "loopend", "loop", "spectrogram", "stimuli"]
    assert not any(browser.find_element(By.ID, tool).is_displayed() for tool in tools)
    more.click()
    assert all(browser.find_element(By.ID, tool).is_displayed() for tool in tools)
    assert (more.text, more.get_attribute("aria-expanded")) == ("Less", "true")
    assert [browser.find_element(By.ID, tool).text for tool in tools[:3]] == ["Loop from here", "Loop to here", "Loop"]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    heights = browser.execute_script(
        "return Array.from(document.querySelectorAll('#rows button'), (b) => b.offsetHeight)"
    )
    assert min(heights) >= 44  # a finger's width in CSS pixels


def test_everything_has_a_name_for_a_screen_reader(browser: webdriver.Chrome) -> None:
    play(browser, 2, 1)
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {"button", "slider", "combobox", "checkbox", "radio", "textbox", "table", "image"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in wanted]
    assert len(controls) > 50
    unnamed = [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")]
    assert unnamed == []
    names = {node["name"]["value"] for node in controls}
    assert any(name.startswith("Play opus:12k, album/002.wav, SI-SDR") for name in names)


def test_missing_chromium_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install chromium chromium-driver"):
        chromium.start(width=100, height=100, downloads=tmp_path)
