"""The page in a real browser without a screen: no error, everything drawn, controls work, names are inert.

A script is put at the end of a copy of the page; it works the controls, asks axe what assistive technology
would stumble over, and writes down what it saw. Where there is no Chromium (Debian: ``apt-get install
chromium``), the test is skipped and says so.
"""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from axe_core_python import __file__ as axe_core

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason="NO CHROMIUM HERE: no browser opened the page (apt-get install chromium)",
)

AXE = "<script>" + (Path(axe_core).parent / "axe.min.js").read_text(encoding="utf-8") + "</script>"

PROBE = """
<script>
const seen = {};
const $ = (id) => document.getElementById(id);
const marks = (id) => $(id) ? $(id).querySelectorAll("circle").length : -1;
const press = (element, key) => element.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const change = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event(
  $(id).type === "range" ? "input" : "change")); };
seen.hacked = typeof window.hacked;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
seen.empty = Array.from(document.querySelectorAll("svg")).filter((s) => !s.childElementCount).length;
const picture = document.querySelector(".picture");
picture.focus();
seen.focused = document.activeElement === picture;
press(picture, "ArrowRight");
seen.first = $("told").textContent;
press(picture, "ArrowRight");
seen.second = $("told").textContent;
press(picture, "Escape");
seen.left = $("told").textContent;
picture.querySelector("[data-t]").dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
seen.hovered = $("told").textContent;
seen.unnamed = Array.from(document.querySelectorAll("a, button, select, input, summary")).filter((e) =>
  !(e.textContent.trim() || e.getAttribute("aria-label") || (e.labels && e.labels.length))).length;
if ($("pair-x")) {
  seen.pairs = marks("pair-picture");
  $("pair-draws").click();
  seen.rows = marks("pair-picture");
  change("pair-x", "1");
  seen.pairLabel = $("pair-picture").getAttribute("aria-label");
}
if ($("mould-stage")) {
  const where = () => $("mould-picture").querySelector("circle").getAttribute("cx");
  seen.last = $("mould-name").textContent;
  const end = where();
  change("mould-stage", "0");
  seen.noise = $("mould-name").textContent;
  seen.moved = where() !== end;
  $("mould-play").click();
  seen.playing = $("mould-play").textContent;
  $("mould-play").click();
  seen.paused = $("mould-play").textContent;
}
seen.dark = matchMedia("(prefers-color-scheme: dark)").matches;
const tell = () => {
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
};
axe.run().then((found) => {
  seen.asked = found.passes.length;
  seen.violations = found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes[0].html.slice(0, 200)}`);
  tell();
});
</script>
"""


def opened(text, folder, width, *more):
    path = folder / f"page{width}.html"
    path.write_text(text.replace("</body>", AXE + PROBE + "</body>"), encoding="utf-8")
    told = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=20000",
    ]
    told += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1200", "--dump-dom", *more]
    found = subprocess.run(
        [BROWSER, *told, path.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    console = [line for line in found.stderr.splitlines() if "CONSOLE" in line]
    written = re.search(r'<pre id="seen">(.*?)</pre>', found.stdout, re.DOTALL)
    assert written, found.stderr[-2000:]
    return json.loads(unescape(written.group(1))), console


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("which", ["examined", "numbers"])
def test_the_page_works(which, width, request, tmp_path):
    seen, console = opened(request.getfixturevalue(which).html(), tmp_path, width)
    assert not console
    assert seen["hacked"] == "undefined"
    assert seen["wide"] <= 0
    assert seen["empty"] == 0
    assert seen["unnamed"] == 0
    assert seen["asked"] > 20
    assert not seen["violations"]
    assert seen["focused"]
    assert seen["first"]
    assert seen["first"] != seen["second"]
    assert not seen["left"]
    assert seen["hovered"]
    assert seen["pairs"] > seen["rows"] > 10
    if which == "numbers":
        assert "onerror" in seen["pairLabel"]
        assert seen["last"].startswith("in the units")
        assert seen["noise"].startswith("noise")
        assert seen["moved"]
        assert (seen["playing"], seen["paused"]) == ("Pause", "Play")


def test_the_page_is_accessible_in_the_dark(examined, tmp_path):
    seen, _ = opened(examined.html(), tmp_path, 1600, "--blink-settings=preferredColorScheme=0")
    assert seen["dark"]
    assert not seen["violations"]


def test_axe_would_speak(examined, tmp_path):
    seen, _ = opened(examined.html().replace("<h2>", '<img src="data:,"><h2>', 1), tmp_path, 1600)
    assert any("image-alt" in one for one in seen["violations"])
