"""The page of a whole run in a real browser: both widths, both themes, keyboard, screen reader, no request."""

import itertools
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chromium import Browser, find_browser
from whole_run import make_run

from lingraft.recipes.showing.comparing_runs import compare_runs
from lingraft.recipes.showing.comparing_runs_report import write_comparison
from lingraft.recipes.showing.recipe_report import write_recipe_report
from lingraft.reports.page import Paragraph, Section, Table, write_page

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(
    PROGRAM is None,
    reason="no chromium, chromium-browser or google-chrome on PATH (Debian: apt install chromium)",
)
WIDTHS, SCHEMES = (360, 1280), ("light", "dark")
SPOKEN = "document.querySelector('.explorer-spoken').textContent"
CELL_SPOKEN = "document.querySelector('.tokengrid .spoken').textContent"
FOCUS = "document.activeElement"

# Colours of text on what is behind it, from what the browser computed; the canvas is drawn in the same colours.
CONTRASTS = """
(() => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("script, style")) continue;
    const style = getComputedStyle(element);
    let behind = element;
    while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const paper = behind ? getComputedStyle(behind).backgroundColor : "#fff";
    const tones = [style.color, paper].map((colour) => light(rgba(colour).slice(0, 3))).sort((a, b) => b - a);
    const ratio = (tones[0] + 0.05) / (tones[1] + 0.05);
    found.push([ratio, element.tagName, element.className, element.textContent.slice(0, 40)]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 5);
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    # A short path: sockets in the profile have names of limited length.
    profile = tmp_path_factory.mktemp("chromium")
    found = Browser(PROGRAM, profile)
    yield found
    found.close()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A run's page, and that of two runs compared."""
    directory = tmp_path_factory.mktemp("pages")
    run = make_run(directory / "basque")
    make_run(directory / "swahili", target=1.9, language="sw", seed=1)
    comparison = compare_runs([directory / "basque", directory / "swahili"])
    return {
        "run": write_recipe_report(run, directory / "page"),
        "comparison": write_comparison(comparison, directory / "compared"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["run", "comparison"])
def test_nothing_is_loaded_said_or_cut_off(browser, pages, name, width, scheme):
    browser.open(pages[name], width=width, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.settle()
    assert browser.complaints() == []
    assert browser.requests() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    wide = """[...document.querySelectorAll('main *')].filter((one) => {
      const box = one.getBoundingClientRect();
      const inside = one.closest('.scroll, .picture, .spoken, .explorer-spoken, canvas, td > div');
      return !inside && box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
    }).map((one) => one.outerHTML.slice(0, 120))"""
    assert browser.run(wide) == []
    dark = browser.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    pictures = browser.run(
        "[...document.images].map((one) => [one.complete && one.naturalWidth > 0, one.alt !== ''])"
    )
    assert pictures and all(loaded and named for loaded, named in pictures)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["run", "comparison"])
def test_text_has_contrast(browser, pages, name, scheme):
    browser.open(pages[name], scheme=scheme)
    worst = browser.run(CONTRASTS)
    assert len(worst) == 5
    assert worst[0][0] >= 4.5, worst


def test_policy_keeps_other_scripts_and_requests_out(browser, pages, tmp_path):
    text = pages["run"].read_text(encoding="utf-8")
    hostile = "<script>document.title = 'hacked'</script><img src='https://lingraft.invalid/x.png' alt='x'>"
    path = tmp_path / "hostile.html"
    path.write_text(text.replace("</main>", hostile + "</main>"), encoding="utf-8")
    browser.open(path)
    assert browser.run("document.title") == "Basque & <b>"
    assert browser.run("[...document.images].at(-1).naturalWidth") == 0
    said = " ".join(browser.complaints())
    assert "script" in said and "img-src data:" in said
    # Its own scripts do run.
    assert browser.run("!document.querySelector('.explorer-live').hidden")


def test_contents_lead_to_every_part(browser, pages):
    browser.open(pages["run"])
    links = browser.run("[...document.querySelectorAll('nav a')].map((one) => one.getAttribute('href'))")
    headings = browser.run("[...document.querySelectorAll('h2, h3')].map((one) => '#' + one.id)")
    assert links == headings and len(set(links)) == len(links) >= 15
    for link in links:
        browser.run(f"document.querySelector('nav a[href=\"{link}\"]').click()")
        browser.settle()
        top = browser.run(f"document.getElementById({link[1:]!r}).getBoundingClientRect().top")
        assert -1 <= top < 900, link
    # At desktop width the contents stay beside the text however far it is read.
    box = browser.run(
        "(() => { const box = document.querySelector('nav').getBoundingClientRect(); return [box.top, box.right]; })()"
    )
    text = browser.run("document.querySelector('main').getBoundingClientRect().left")
    assert 0 <= box[0] < 100 and box[1] <= text


def test_accessibility_tree(browser, pages):
    browser.open(pages["run"])
    nodes = browser.nodes()
    roles = [role for role, _, _ in nodes]
    assert {"main", "navigation", "banner", "grid", "application", "status"} <= set(roles)
    assert roles.count("main") == roles.count("banner") == roles.count("navigation") == 1
    nameless = [
        (role, name)
        for role, name, properties in nodes
        if properties.get("focusable") and not name.strip() and role not in {"generic", "main"}
    ]
    assert nameless == []
    regions = [name for role, name, _ in nodes if role == "region"]
    assert all(regions)
    images = [name for role, name, _ in nodes if role in {"image", "img"}]
    assert images and all(images)
    levels = browser.run(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run("[...document.querySelectorAll('[dir=auto][lang=ar]')].length") == 3
    assert browser.run(
        "getComputedStyle(document.querySelector('dd[lang=ar]')).direction === 'rtl'"
        " && getComputedStyle(document.querySelector('dd[lang=eu]')).direction === 'ltr'"
    )
    tables = browser.run(
        "[...document.querySelectorAll('table')].every((one) => one.caption || one.getAttribute('aria-label')"
        " || one.parentElement.getAttribute('aria-label'))"
    )
    assert tables


def tab_to(browser, selector, most=80):
    """Press the tab key until an element has the focus."""
    for _ in range(most):
        browser.press("Tab")
        if browser.run(f"{FOCUS}.matches({selector!r})"):
            return
    raise AssertionError(f"{selector} is not reached")


def visible_focus(browser):
    style = f"getComputedStyle({FOCUS})"
    return browser.run(f"{style}.outlineStyle !== 'none' && parseFloat({style}.outlineWidth) >= 2")


def test_skip_link_comes_first(browser, pages):
    browser.open(pages["run"])
    browser.press("Tab")
    assert browser.run(f"{FOCUS}.textContent") == "Skip to the report"
    assert browser.run(f"{FOCUS}.getBoundingClientRect().top") >= 0 and visible_focus(browser)
    browser.press("Enter")
    assert browser.run(f"{FOCUS}.id") == "content"
    browser.press("Tab")
    assert browser.run(f"{FOCUS}.closest('main') !== null")


def test_keyboard_walk_through_explorer(browser, pages):
    browser.open(pages["run"])
    tab_to(browser, ".explorer select")
    assert visible_focus(browser)
    label = browser.run("document.querySelector('.explorer-map').getAttribute('aria-label')")
    assert "attention" in label
    browser.press("ArrowDown")
    label = browser.run("document.querySelector('.explorer-map').getAttribute('aria-label')")
    assert "feed-forward" in label
    tab_to(browser, ".explorer button")
    browser.press("Enter")
    assert "attention" in browser.run("document.querySelector('.explorer-map').getAttribute('aria-label')")
    tab_to(browser, ".explorer-map")
    assert visible_focus(browser)
    start = browser.run(SPOKEN)
    assert "donor layer 4, receiver layer 6" in start
    browser.press("ArrowUp")
    assert "donor layer 6, receiver layer 6" in browser.run(SPOKEN)
    browser.press("ArrowRight")
    told = browser.run(SPOKEN)
    assert re.search(r"donor layer 6, receiver layer 8; right: [\d.]+ %", told) and "answer: " in told
    browser.press("Home")
    browser.press("PageDown")
    assert "donor layer 0, receiver layer 0" in browser.run(SPOKEN)
    browser.press("ArrowLeft")
    assert "donor layer 0, receiver layer 0" in browser.run(SPOKEN)
    browser.press("Tab")
    assert not browser.run(f"{FOCUS}.matches('.explorer-map')")


def test_keyboard_walk_through_token_grid(browser, pages):
    browser.open(pages["run"])
    tab_to(browser, ".tokengrid td")
    assert visible_focus(browser)
    assert browser.run(CELL_SPOKEN) == "layer 7, English: 38.0 % casa; 10.0 % the"
    shown = f"getComputedStyle({FOCUS}.lastElementChild).display"
    assert browser.run(shown) == "block"
    browser.press("ArrowDown")
    assert browser.run(CELL_SPOKEN).startswith("layer 6, English: 98.0 % etxe")
    browser.press("ArrowLeft")
    assert browser.run(CELL_SPOKEN).startswith("layer 6, etxea: 38.0 % casa")
    browser.press("End")
    browser.press("PageDown")
    assert browser.run(CELL_SPOKEN).startswith("layer 0, :")
    browser.press("ArrowRight")
    assert browser.run(CELL_SPOKEN).startswith("layer 0, :")
    # One stop of the tab key, and back to the same cell.
    browser.press("Tab")
    assert not browser.run(f"{FOCUS}.closest('.tokengrid') !== null && {FOCUS}.matches('td')")
    browser.press("Tab", shift=True)
    assert browser.run(f"{FOCUS}.matches('td') && {FOCUS}.parentElement.cells[0].textContent === '0'")


def test_text_in_a_table_is_no_tower_on_a_phone(browser, tmp_path):
    words = "funtzioa (3), adibidea (2), balioa (1), bateko (1), begiratu (1), behar (1), behin (1)"
    table = Table("Which, and why", ("document", "length", "which"), [("shared/03080502", 26, words)] * 2)
    page = write_page(tmp_path / "p.html", [Section("Documents", [table])], title="Documents", summary="Two.")
    browser.open(page, width=360)
    tall, line = browser.run("""(() => { const cell = document.querySelector('td:last-child');
      return [cell.clientHeight, parseFloat(getComputedStyle(cell).lineHeight)]; })()""")
    assert tall < 5.5 * line


@pytest.mark.parametrize("width", WIDTHS)
def test_cells_in_arabic_begin_at_the_right_and_keep_their_lines(browser, tmp_path, width):
    answer = "يستخدم Python 3 لكتابة البرامج، أليس كذلك؟\n1. افتح الملف (config.json).\n    2. احفظه!"
    table = Table("Answers", ("id", "answer", "tokens"), [("a", answer, 1234), ("b", "x = 1\n    y = 2", 5)])
    page = write_page(tmp_path / "p.html", [Section("Answers", [table])], title="Answers", summary="Two.")
    browser.open(page, width=width)
    cells = """[...document.querySelectorAll('td')].map((one) => {
      const [style, range] = [getComputedStyle(one), document.createRange()];
      range.selectNodeContents(one);
      const [parts, box] = [[...range.getClientRects()], one.getBoundingClientRect()];
      const last = parts.filter((part) => part.bottom > parts.at(-1).top + 2);
      const [left, right] = [Math.min(...last.map((l) => l.left)), Math.max(...last.map((l) => l.right))];
      return [style.direction, left - box.left < box.right - right, one.innerText];
    })"""
    arabic, number, code, _ = browser.run(cells)
    assert arabic == ["rtl", False, answer] and number[:2] == ["ltr", False]
    assert code == ["ltr", True, "x = 1\n    y = 2"]
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_only_frames_that_scroll_are_stops(browser, pages):
    frames = """[...document.querySelectorAll('.scroll')].filter((one) => one.checkVisibility()
      && !one.querySelector('[role=grid]')).map((one) => [one.scrollWidth > one.clientWidth, one.tabIndex])"""
    browser.open(pages["run"], width=1280)
    wide = browser.run(frames)
    assert all(stop == (0 if scrolls else -1) for scrolls, stop in wide)
    assert 0 < sum(scrolls for scrolls, _ in wide) < len(wide)
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=360, height=900, deviceScaleFactor=1, mobile=True
    )
    browser.settle()
    narrow = browser.run(frames)
    assert all(stop == (0 if scrolls else -1) for scrolls, stop in narrow)
    assert sum(scrolls for scrolls, _ in narrow) > sum(scrolls for scrolls, _ in wide)


def test_long_answers_unfold_by_keyboard(browser, pages):
    browser.open(pages["run"], width=360)
    tab_to(browser, ".samples .fold > summary")
    assert browser.run(f"{FOCUS}.querySelector('.start').checkVisibility()")
    browser.press("Enter")
    assert browser.run(f"{FOCUS}.parentElement.open && !{FOCUS}.querySelector('.start').checkVisibility()")
    answers = "[...document.querySelectorAll('.samples li:first-child dl > div')]"
    columns = f"new Set({answers}.map((one) => one.offsetLeft)).size"
    assert browser.run(columns) == 1
    browser.open(pages["run"], width=1280)
    assert browser.run(columns) == 2


def test_print_shows_what_is_folded(browser, pages):
    browser.open(pages["run"])
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.settle()
    hidden = "[...document.querySelectorAll('nav, .skip')].every((one) => !one.checkVisibility())"
    assert browser.run(hidden)
    folded = "[...document.querySelectorAll('details > :not(summary)')].filter((one) => !one.checkVisibility()).length"
    shown = browser.run(
        "[...document.querySelectorAll('main details:not(.tokengrid) table, .rest li')]"
        ".every((one) => one.getBoundingClientRect().height > 0)"
    )
    assert shown, browser.run(folded)
    browser.call("Emulation.setEmulatedMedia", media="screen")


def test_short_page_has_no_contents_and_no_script(browser, tmp_path):
    path = write_page(tmp_path / "a.html", [Section("größe", [Paragraph("x" * 500)])], title="y" * 200)
    browser.open(path, width=360)
    assert browser.complaints() == [] and browser.requests() == []
    assert browser.run("document.querySelectorAll('nav, script').length") == 0
    assert browser.run("document.documentElement.scrollWidth") <= 360
