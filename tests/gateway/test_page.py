"""The page at the gateway's root in a real headless Chromium: by keyboard, on a phone, under its content policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from sentriton import SentenceEncoder
from tests.conftest import ROOT, cannot_run
from tests.gateway.conftest import RunningGateway, running_gateway
from tests.server.conftest import RunningServer

UNPACKED = ROOT / "build/browser"
TEXTS = ["숙소가 역에서 가까워요.", "지하철역 근처 숙소입니다.", "내일 비가 오나요?"]
PHONE, DESK = (390, 844), (1100, 900)


def programs() -> tuple[str, str, dict[str, str]]:
    """Chromium, its driver, and the variables that they need."""
    if (UNPACKED / "usr/bin/chromedriver").exists():
        libraries = UNPACKED / "usr/lib/x86_64-linux-gnu"
        fonts = UNPACKED / "fonts.conf"
        fonts.write_text(f"<fontconfig><dir>{UNPACKED}/usr/share/fonts</dir><dir>/usr/share/fonts</dir></fontconfig>")
        variables = {"LD_LIBRARY_PATH": f"{libraries}:{libraries}/pulseaudio", "FONTCONFIG_FILE": str(fonts)}
        browser = UNPACKED / "usr/lib/chromium/chromium-headless-shell"
        return str(browser), str(UNPACKED / "usr/bin/chromedriver"), variables
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if found[0] is None or found[1] is None:
        cannot_run("needs Chromium and its driver; make browser unpacks Debian's, or put both on PATH")
    return found[0], found[1], {}


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    binary, driver, variables = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver, env={**os.environ, **variables})
    chrome = webdriver.Chrome(options=options, service=service)
    yield chrome
    chrome.quit()


def open_page(browser: webdriver.Chrome, gateway: RunningGateway, size: tuple[int, int] = DESK) -> None:
    browser.set_window_size(*size)
    browser.get(f"{gateway.url}/")


def by_id(browser: webdriver.Chrome, name: str) -> WebElement:
    return browser.find_element(By.ID, name)


def wait_for(browser: webdriver.Chrome, name: str) -> str:
    """The text of an element once it has one."""
    WebDriverWait(browser, 20).until(lambda _: by_id(browser, name).text)
    return by_id(browser, name).text


def type_texts(browser: webdriver.Chrome, texts: list[str]) -> None:
    text = by_id(browser, "text")
    text.clear()
    text.send_keys("\n".join(texts))


def scores(browser: webdriver.Chrome) -> list[list[float]]:
    rows = by_id(browser, "map").find_elements(By.CSS_SELECTOR, "tbody tr")
    return [[float(cell.text) for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]


def test_similarities_by_keyboard(
    browser: webdriver.Chrome, gateway: RunningGateway, model: str, encoder: SentenceEncoder
) -> None:
    open_page(browser, gateway)
    WebDriverWait(browser, 20).until(lambda _: by_id(browser, "model").text == model)
    facts = by_id(browser, "facts").text
    assert str(encoder.manifest.dimension) in facts
    assert encoder.manifest.fingerprint[:12] in facts
    type_texts(browser, TEXTS)
    by_id(browser, "text").send_keys(Keys.CONTROL, Keys.ENTER)
    tokens = sum(map(len, encoder.token_ids(TEXTS)))
    assert wait_for(browser, "time").startswith(f"3 sentences with {tokens} tokens in ")
    embeddings = encoder.encode(TEXTS)
    expected = encoder.similarity(embeddings, embeddings)
    np.testing.assert_allclose(scores(browser), expected, atol=0.00501)
    pairs = by_id(browser, "pairs").find_elements(By.TAG_NAME, "li")
    assert len(pairs) == 3
    assert TEXTS[0] in pairs[0].text
    assert TEXTS[1] in pairs[0].text
    # From the text by Tab over the button to the table, which is one stop, and through it by arrows.
    active = browser.switch_to
    active.active_element.send_keys(Keys.TAB)
    assert active.active_element.get_attribute("id") == "compare"
    active.active_element.send_keys(Keys.TAB)
    assert active.active_element.tag_name == "td"
    active.active_element.send_keys(Keys.ARROW_RIGHT)
    active.active_element.send_keys(Keys.ARROW_DOWN)
    active.active_element.send_keys(Keys.ARROW_RIGHT)
    assert wait_for(browser, "pair") == f"{expected[1, 2]:.4f}: 2. {TEXTS[1]} — 3. {TEXTS[2]}"
    if folder := os.environ.get("SENTRITON_SCREENSHOT"):
        browser.save_screenshot(str(Path(folder) / "page.png"))


def test_a_phone(browser: webdriver.Chrome, gateway: RunningGateway) -> None:
    open_page(browser, gateway, PHONE)
    type_texts(browser, [f"{number}. {TEXTS[number % 3]}" for number in range(12)])
    by_id(browser, "compare").click()
    wait_for(browser, "time")
    wider = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert wider <= 0, "the table scrolls, and the page does not"
    assert by_id(browser, "compare").size["height"] >= 44, "large enough for a thumb"


def test_faults_are_shown(browser: webdriver.Chrome, gateway: RunningGateway) -> None:
    open_page(browser, gateway)
    type_texts(browser, ["alone"])
    by_id(browser, "compare").click()
    assert wait_for(browser, "failure") == "the text has 1 sentences; allowed are 2 to 60"


def test_the_key_is_asked_for(browser: webdriver.Chrome, server: RunningServer) -> None:
    with running_gateway(server.url, SENTRITON_GATEWAY_ACCESS_KEY="a-key-of-the-page") as gateway:
        open_page(browser, gateway)
        assert wait_for(browser, "failure").startswith("the access key is missing or wrong")
        by_id(browser, "key").send_keys("a-key-of-the-page", Keys.ENTER)
        assert "sentences with" in wait_for(browser, "time")


def test_nothing_else_is_loaded_or_run(browser: webdriver.Chrome, gateway: RunningGateway) -> None:
    browser.get_log("browser")  # of earlier pages
    open_page(browser, gateway)
    by_id(browser, "compare").click()
    wait_for(browser, "time")
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert all(name.startswith((gateway.url, "data:")) for name in loaded), loaded
    policy = httpx.get(f"{gateway.url}/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    browser.execute_script(
        "const made = document.createElement('script'); made.textContent = 'window.strange = 1';"
        "document.body.append(made)"
    )
    assert browser.execute_script("return window.strange") is None
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert len(severe) == 1, severe
    assert "Content Security Policy" in severe[0]
