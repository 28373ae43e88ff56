"""The Chromium of the system, driven by Playwright; skipped, or required by CI, where there is none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

# Gives the visible texts whose contrast to what is behind them is below 4.5.
POOR_CONTRAST = """
() => {
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0.99) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const e of document.querySelectorAll("body *:not(script)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".sr, svg, option")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(e.className + ": " + e.textContent.trim().slice(0, 30));
  }
  return poor;
}
"""

# Lets alerts have names as long as they may be sent, without a blank; gives the width that the page takes then.
WIDTH_WITH_LONG_NAMES = """
() => {
  for (const e of document.querySelectorAll("#firing .what, .alert .where a, .alert .top b")) e.append("x".repeat(200));
  return document.documentElement.scrollWidth;
}
"""


# Gives what is wider than its place, and numbers of a course that are too small to be read.
HARD_TO_READ = """
() => [
  ...[document.documentElement, ...document.querySelectorAll("#heat td")].filter((e) => e.scrollWidth > e.clientWidth),
  ...[...document.querySelectorAll(".chart .tick")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 10),
].map((e) => e.textContent.slice(0, 40))
"""


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """One with `more` arguments."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        reason = "no Chromium on PATH: install Debian's package chromium"
        if os.environ.get("CX_REQUIRE_CHROMIUM") == "1":
            pytest.fail(f"CX_REQUIRE_CHROMIUM=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *more], timeout=180_000)
        yield browser
        browser.close()
