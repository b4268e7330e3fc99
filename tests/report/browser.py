"""A headless Chromium for the tests of the pages; its absence is an error that says what to install."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

MISSING = "the tests of the pages need Chromium: apt-get install chromium chromium-driver"


# Lowest contrast (WCAG 2) of the texts of a page with their backgrounds; opacity counts.
CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = (c) => {
  const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
let lowest = [99, ""];
for (const node of document.querySelectorAll("main *, nav *")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || !node.checkVisibility()) continue;
  let [behind, opacity] = [null, 1];
  for (let at = node; at; at = at.parentElement) {
    opacity *= Number(getComputedStyle(at).opacity);
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (!behind && colour[3] === 255) behind = colour;
  }
  const fore = rgba(getComputedStyle(node).color).map((v, i) => v * opacity + behind[i] * (1 - opacity));
  const [a, b] = [light(fore), light(behind)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < lowest[0]) lowest = [ratio, node.tagName + " " + node.textContent.slice(0, 40)];
}
return [...lowest, getComputedStyle(document.body).backgroundColor];
"""


def start(*, width: int, height: int, downloads: Path) -> webdriver.Chrome:
    """A browser without network services of its own; what it logs and requests can be read afterwards."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        raise RuntimeError(MISSING)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--autoplay-policy=no-user-gesture-required",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def errors(browser: webdriver.Chrome) -> list[str]:
    """What the console said since the last call."""
    return [entry["message"] for entry in browser.get_log("browser")]


@contextmanager
def visit(browser: webdriver.Chrome, address: str, *, schemes: tuple[str, ...] = ()) -> Iterator[webdriver.Chrome]:
    """Open a page; in the end the console has said nothing, and only files (and `schemes`) were asked for."""
    browser.get("about:blank")
    errors(browser), requested(browser)  # what an earlier test left
    browser.get(address)
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert errors(browser) == []
    assert [url for url in requested(browser) if not url.startswith(("file:", "data:", "about:", *schemes))] == []


def requested(browser: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for since the last call."""
    messages: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"] for entry in browser.get_log("performance")
    ]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def choose(browser: webdriver.Chrome, select: str, text: str) -> None:
    """Choose the option of a select element (its id) that starts with a text."""
    script = (
        "const s = document.getElementById(arguments[0]);"
        "s.value = [...s.options].find((o) => o.textContent.startsWith(arguments[1])).value;"
        "s.dispatchEvent(new Event('change'));"
    )
    browser.execute_script(script, select, text)
