"""Tests the HTML report in a browser: headless Chromium opens the file, and all its requests are logged."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from pyterrier_saesplade.evaluation import write_report

#: A name that must be shown as text: `&`, quotes, a tag, a script that would change the title, a formula.
HOSTILE = """<script>document.title='owned'</script> & "b" 'c' <b>$x$ $y$"""
COSTS = {"index_mb": 1.0, "mrt": 2.0, "encode_ms_per_query": 1.5, "retrieve_ms_per_query": 0.5, "build_seconds": 3.0}
ROWS = [
    {"name": "bm25", "RR@10": 0.6, "AP": 0.3, "qd_flops": 1.25, **COSTS},
    {"name": "dense", "RR@10": 0.7, "AP": 0.2, "qd_flops": None, **COSTS},
    {"name": HOSTILE, "RR@10": 0.65, "AP": 0.4, "qd_flops": 12.5, **COSTS},
]
WIDE, NARROW = (1280, 1000), (360, 780)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """The system's Chromium. It cannot reach any host, and logs its requests and its console."""
    options = ChromeOptions()
    options.binary_location = program("chromium")
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",  # the sandbox does not work as root
        "--disable-dev-shm-usage",
        "--force-device-scale-factor=1",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(program("chromedriver")))
    yield driver
    driver.quit()


def program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: apt-get install chromium chromium-driver"
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two comparisons. The first one has all files; one system has a hostile name."""
    folder = tmp_path_factory.mktemp("results")
    for name in ("full", "old"):
        (folder / name).mkdir()
        (folder / name / "results.json").write_text(json.dumps(ROWS))
    lines = [
        [row["name"], f"q{i}{HOSTILE}", measure, row[measure] * (1 + np.sin(i * (2 + number)) / 2)]
        for number, row in enumerate(ROWS)
        for i in range(40)
        for measure in ("RR@10", "AP")
    ]
    quoted = [",".join('"' + str(value).replace('"', '""') + '"' for value in line) for line in lines]
    (folder / "full" / "perquery.csv").write_text("\n".join(["name,qid,measure,value", *quoted]) + "\n")
    about = {
        "title": f"{HOSTILE}: 1,000 documents",
        "collection": HOSTILE,
        "n_docs": 1000,
        "measures": ["RR@10", "AP"],
        "notes": [HOSTILE],
        "command": f"saesplade evaluate --collection '{HOSTILE}'",
        "versions": {"pyterrier_saesplade": "0.1.0"},
        "date": "2026-01-01",
    }
    (folder / "full" / "about.json").write_text(json.dumps(about))
    return write_report([folder / "full", folder / "old"], folder / "a report #1.html")


@pytest.fixture
def shown(browser: Chrome, page: Path) -> Chrome:
    """The page, freshly opened."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    return browser


def test_only_the_page_is_requested(shown: Chrome, page: Path) -> None:
    messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    addresses = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert addresses[0] == page.as_uri()
    assert len(addresses) > 3
    assert all(address.startswith("data:image/") for address in addresses[1:])
    assert shown.get_log("browser") == []


def test_the_page_cannot_load_anything_else(shown: Chrome) -> None:
    """Its content security policy blocks requests from scripts and names."""
    script = "const done = arguments[0]; fetch('http://localhost:9/').then(() => done('sent'), (e) => done(e.message))"
    assert shown.execute_async_script(script) == "Failed to fetch"
    assert any("Content Security Policy" in entry["message"] for entry in shown.get_log("browser"))


def test_names_are_shown_as_text(shown: Chrome) -> None:
    assert shown.title == "Comparisons"
    assert shown.execute_script("return document.scripts.length") == 1
    assert shown.execute_script("return document.querySelectorAll('b').length") == 0
    assert shown.find_elements(By.TAG_NAME, "h2")[0].text == f"{HOSTILE}: 1,000 documents"
    assert column(systems(shown), 0) == ["bm25", "dense", HOSTILE]
    shown.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert shown.find_element(By.TAG_NAME, "pre").text == f"saesplade evaluate --collection '{HOSTILE}'"


def test_clicks_and_keys_sort_a_column(shown: Chrome) -> None:
    """Numbers are sorted in descending order, then in ascending order; empty cells stay last. Texts go from A to Z."""
    table = systems(shown)
    rr, cost = head(table, "RR@10"), head(table, "QD-FLOPs")
    assert rr.get_attribute("aria-sort") is None
    rr.find_element(By.TAG_NAME, "button").click()
    assert column(table, 1) == ["0.700", "0.650", "0.600"]
    assert rr.get_attribute("aria-sort") == "descending"
    rr.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert column(table, 1) == ["0.600", "0.650", "0.700"]
    assert rr.get_attribute("aria-sort") == "ascending"
    cost.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert column(table, 3) == ["12.50", "1.25", ""]
    assert rr.get_attribute("aria-sort") is None
    cost.find_element(By.TAG_NAME, "button").click()
    assert column(table, 3) == ["1.25", "12.50", ""]
    head(table, "system").find_element(By.TAG_NAME, "button").click()
    assert column(table, 0) == [HOSTILE, "bm25", "dense"]


def test_the_tab_key_reaches_the_buttons_of_all_tables(shown: Chrome) -> None:
    buttons = shown.find_elements(By.CSS_SELECTOR, "thead th button")
    assert len(buttons) == len(shown.find_elements(By.CSS_SELECTOR, "thead th"))
    systems(shown).find_elements(By.TAG_NAME, "button")[0].send_keys(Keys.TAB)
    assert shown.switch_to.active_element == systems(shown).find_elements(By.TAG_NAME, "button")[1]


def test_every_figure_is_drawn_and_described(shown: Chrome) -> None:
    drawn = "return [...document.images].map((image) => [image.complete && image.naturalWidth, image.alt])"
    figures = shown.execute_script(drawn)
    # One figure per comparison, and two more for the comparison with per-query values.
    assert len(figures) == 4
    assert all(width > 200 and alt for width, alt in figures)


@pytest.mark.parametrize(("width", "height"), [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable(
    shown: Chrome, screenshot: Callable[[str], Path], scheme: str, width: int, height: int
) -> None:
    """The page fits the screen, text contrasts with the background, and no part of the page is empty."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    shown.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    assert shown.execute_script("return document.documentElement.scrollWidth") <= width
    pixels = imread(screenshot(f"{scheme}-{width}"))[..., :3].mean(axis=2)
    assert pixels.shape[1] == width
    background = np.median(pixels)
    assert background > 0.9 if scheme == "light" else background < 0.2
    # Every screenful has pixels that differ strongly from the background.
    for top in range(0, len(pixels) - height, height):
        assert (abs(pixels[top : top + height] - background) > 0.5).mean() > 0.005


@pytest.fixture
def screenshot(shown: Chrome, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Takes a screenshot of the whole page, and keeps it if ``--screenshots`` names a folder."""
    folder = Path(request.config.getoption("--screenshots") or tmp_path)

    def take(name: str) -> Path:
        folder.mkdir(exist_ok=True)
        options = {"captureBeyondViewport": True, "format": "png"}
        taken = shown.execute_cdp_cmd("Page.captureScreenshot", options)
        path = folder / f"{name}.png"
        path.write_bytes(base64.b64decode(taken["data"]))
        return path

    return take


def systems(browser: Chrome) -> WebElement:
    """The table of the first comparison."""
    return browser.find_element(By.CSS_SELECTOR, "#comparison-1 table")


def head(table: WebElement, name: str) -> WebElement:
    (found,) = [cell for cell in table.find_elements(By.CSS_SELECTOR, "thead th") if cell.text.split("\xa0")[0] == name]
    return found


def column(table: WebElement, number: int) -> list[str]:
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text for row in rows]
