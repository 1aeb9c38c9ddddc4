"""The page in a real browser: no complaint of its console, content there, tables that sort."""

import html
import json
import re
import shutil
import subprocess

import pytest
from matplotlib.image import imread

from lsh_native.report.html import write_report
from lsh_native.search.interval import Interval
from lsh_native.search.rounds import Elimination
from lsh_native.search.space import Space

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.fixture
def opened(tmp_path):
    """Open a page, run its scripts, and return the document that results, or what is asked for."""

    def opened(path, *wanted):
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            [BROWSER, *OPTIONS, profile, *(wanted or ["--dump-dom"]), path.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert not complaints
        return done.stdout

    return opened


def column(document, index):
    table = document.partition('class="scroll sortable"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    return [re.sub("<[^>]*>", "", re.findall(r"<t[hd].*?</t[hd]>", row)[index]) for row in rows]


def test_the_page_and_its_sorting(store, run, final_table, opened, tmp_path):
    run(candidates=8)
    path = write_report(tmp_path / "report.html", store, table=final_table())
    document = opened(path)
    assert "reached validation perplexity 61.2" in document
    perplexities = column(document, -3)
    assert len(perplexities) == 9

    # The policy of the page lets no other script in, so the copy that presses a button has none.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text())
    press = (
        "const button = [...document.querySelectorAll('.sortable button')].at(-3); button.click();"
        "const table = button.closest('div'), first = table.cloneNode(true);"
        "button.click(); document.body.append(first, table);"
    )
    path.write_text(page.replace("</body>", f"<script>{press}</script></body>"))
    once, _, twice = opened(path).rpartition('class="scroll sortable"')
    rising = sorted(perplexities, key=number)
    assert column(once, -3) == rising
    assert column('class="scroll sortable"' + twice, -3) == rising[::-1]


@pytest.mark.parametrize("width", [500, 1280])  # a window is at least 500 wide
def test_nothing_is_wider_than_the_screen(store, run, final_table, opened, tmp_path, width):
    run(candidates=8)
    path = write_report(tmp_path / "report.html", store, table=final_table())
    picture = tmp_path / "picture.png"
    opened(path, f"--window-size={width},900", f"--screenshot={picture}")
    pixels = imread(picture)
    assert pixels.shape[:2] == (900, width)
    assert 0.01 < (pixels[..., :3].mean(axis=2) < 0.9).mean() < 0.5, "neither blank nor dark"
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text())
    measure = "document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`"
    path.write_text(page.replace("</body>", f"<script>{measure}</script></body>"))
    document = opened(path, f"--window-size={width},900", "--dump-dom")
    wide, screen = re.search(r"<title>(\d+) of (\d+)</title>", document).groups()
    assert int(wide) <= int(screen) == width


# What a script in the frame finds: how wide the page is, and the smallest letters of figures.
MEASURE = """
const heights = [...document.querySelectorAll("svg text")].filter((text) => text.textContent.trim())
  .map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a);
document.querySelectorAll("details").forEach((details) => { details.open = true; });
parent.document.title = JSON.stringify({
  wide: document.documentElement.scrollWidth, screen: innerWidth,
  smallest: Math.min(...heights), figures: document.querySelectorAll("figure").length,
});
"""


def test_a_phone_shows_all_of_it_large_enough(store, run, final_table, opened, tmp_path):
    space = Space(method=("dynamic", "rigl"), learning_rate=Interval(low=1, high=30))
    run(candidates=12, rounds=Elimination(total=9, first=3), space=space)
    path = write_report(tmp_path / "report.html", store, table=final_table())
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text())
    page = html.escape(page.replace("</body>", f"<script>{MEASURE}</script></body>"))
    frame = tmp_path / "phone.html"  # a window is at least 500 wide, a frame is not
    frame.write_text(f'<iframe style="width:360px;height:800px;border:0" srcdoc="{page}"></iframe>')
    found = re.search(r"<title>(.*?)</title>", opened(frame, "--hide-scrollbars", "--dump-dom"))[1]
    measured = json.loads(html.unescape(found))
    assert measured["wide"] <= measured["screen"] == 360
    assert measured["figures"] >= 7
    assert measured["smallest"] >= 11


def test_it_prints(store, run, opened, tmp_path):
    run(candidates=5)
    path = write_report(tmp_path / "report.html", store)
    opened(path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'report.pdf'}")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def number(text):
    return float(text.replace(",", ""))
