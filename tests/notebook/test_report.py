"""`dacapo report` in a real browser: read on a phone and on a desk, by day and by night."""

import json
import re

import pytest

SIZES = {"phone": (360, 740), "desk": (1280, 900)}

# Of every text that is shown: whether it stands out from what is behind it, by the measure of WCAG 2.
CONTRASTS = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((part) => {
    const value = part / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = luminance(getComputedStyle(document.body).backgroundColor);
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const ink = luminance(element instanceof SVGElement ? style.fill : style.color);
  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  found.push([walk.currentNode.data.trim(), ratio, parseFloat(style.fontSize)]);
}
return found;
"""


@pytest.fixture(scope="module")
def reported(project):
    project.dacapo("report", "-o", "report.html").exits(0)
    project.dacapo("report", "-o", "report.svg").exits(0)
    return project


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_legible(reported, page, size, scheme):
    driver = page.driver
    wide, high = SIZES[size]
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": wide, "height": high, "deviceScaleFactor": 2, "mobile": size == "phone"})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme}]})
    driver.get((reported.folder / "report.html").as_uri())
    # Tables may scroll, the page never does.
    sticks_out = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert driver.execute_script(sticks_out) == 0
    texts = driver.execute_script(CONTRASTS)
    assert len(texts) > 30
    assert [text for text in texts if text[1] < 4.5] == [], "it doesn't stand out from the paper"
    assert min(size for _, _, size in texts) >= 10
    words = driver.find_element("tag name", "body").text
    for part in ("What bills now", "usd an hour", "The last run", "start JupyterLab", "What it cost", "Artifact model"):
        assert part in words, words
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", paper)[:3])) > 3 * 128
    assert light == (scheme == "light"), paper
    folder = reported.folder / "screenshots"
    folder.mkdir(exist_ok=True)
    picture = folder / f"{size}-{scheme}.png"
    assert driver.save_screenshot(str(picture))
    assert picture.stat().st_size > 20_000, "something is drawn"
    said = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert said == [], json.dumps(said)


def test_the_pictures_are_drawn(reported, page):
    page.driver.get((reported.folder / "report.svg").as_uri())
    bars = page.driver.find_elements("css selector", "rect.bar")
    steps = page.driver.find_elements("css selector", "g:first-of-type text.faint")
    assert len(bars) == len(steps) > 0
    for bar in bars:
        assert bar.rect["width"] > 0 and bar.rect["height"] > 0
    line = page.driver.find_element("css selector", "polyline.line").rect
    assert line["width"] > 300 and line["height"] > 50, line
