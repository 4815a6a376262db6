"""The report in a real browser: every control does what it says, nothing leaves the machine, texts stay texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlg_metrics.commands import report
from nlg_metrics.report.page import Contents, Run, build
from nlg_metrics.report.run_files import read_run

from .conftest import HOSTILE, write_log

SHOWN_HOSTILE = HOSTILE.replace("\ud800", "?")


@pytest.fixture(scope="module")
def page_file(two_runs: Path) -> Path:
    runs = [str(two_runs / name) for name in ("good", "poor")]
    assert report.main([*runs, "--data", str(two_runs / "data.jsonl"), "--resamples", "100"]) == 0
    return two_runs / "report.html"


class Visit:
    """A page that is open, with everything it asked for and complained of."""

    def __init__(self, context: Any) -> None:
        self.page = context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, path: Path, fragment: str = "") -> Any:
        self.page.goto(path.as_uri() + fragment)
        return self.page

    def segments(self) -> list[str]:
        return [text.strip() for text in self.page.locator("#segments h3 a").all_text_contents()]


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """A fresh page; at its end nothing but files must have been asked for, and nothing complained of."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    visit = Visit(context)
    yield visit
    context.close()
    assert [url for url in visit.requests if not url.startswith("file:")] == []
    assert visit.complaints == []


def test_the_page_asks_for_itself_alone(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    page.locator("#segments article").first.wait_for()
    assert visit.requests == [page_file.as_uri()]


def test_rows_sort_by_value_either_way_and_say_so(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    names = page.locator("#runs tbody th")
    heading = page.locator("#runs thead th", has_text="lr")
    heading.get_by_role("button").click()
    assert names.all_text_contents() == ["good", "poor"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").click()
    assert names.all_text_contents() == ["poor", "good"]
    assert heading.get_attribute("aria-sort") == "descending"
    assert "descending" in page.locator("#status").text_content()


def test_tests_are_against_the_chosen_run(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    page.locator("#segments article").first.wait_for()
    row = {name: page.locator("#runs tbody tr", has=page.locator("th", has_text=name)) for name in ("good", "poor")}
    assert row["good"].locator(".test").count() == 0
    assert row["poor"].locator('[data-metric="BLEU"] .test').text_content().startswith("▼ −")
    # More slot errors are worse: the sign of the difference alone does not decide.
    assert row["poor"].locator('[data-metric="SER"] .test').text_content().startswith("▼ +")
    page.select_option("#baseline", label="poor")
    assert row["good"].locator('[data-metric="BLEU"] .test').text_content().startswith("▲ +")
    assert row["poor"].locator(".test").count() == 0


def test_text_category_and_errors_filter(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    page.fill("#query", "pub 17 ")
    assert visit.segments() == ["id 17"]
    assert "1 of 60 contexts" in page.locator("#shown").text_content()
    page.click("#everything")
    page.select_option("#category", "odd")
    assert visit.segments()[:3] == ["id 1", "id 3", f"5 {SHOWN_HOSTILE}"]
    page.click("#everything")
    page.select_option("#problem", "wrong")
    page.select_option("#of", label="good")
    assert visit.segments() == []
    page.select_option("#of", label="poor")
    # Every fourth of the poor run's areas is the wrong one, unless every fifth's text is another altogether.
    assert visit.segments() == [f"id {n}" for n in range(0, 60, 4) if n % 5]
    page.select_option("#problem", "repeats")
    assert visit.segments() == [f"id {n}" for n in range(0, 60, 5) if n != 5]


def test_sorting_by_score_difference_and_what_carries(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    page.select_option("#order", "difference")
    first = page.locator("#segments article").first
    scores = [float(text.split()[-1]) for text in first.locator(".score").all_text_contents()]
    assert scores[0] > scores[1]
    page.select_option("#down", "0")
    last = page.locator("#segments article").first
    again = [float(text.split()[-1]) for text in last.locator(".score").all_text_contents()]
    assert again[0] - again[1] <= scores[0] - scores[1]
    page.select_option("#order", "carried")
    page.select_option("#down", "1")
    link = page.locator("#groups ol a").first.text_content()
    assert visit.segments()[0] == link


def test_pages_turn_and_the_address_brings_them_back(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    assert len(visit.segments()) == 20
    page.click("#next")
    assert visit.segments()[0] == "id 20"
    assert "21 to 40" in page.locator("#shown").text_content()
    page.fill("#page-number", "3")
    page.keyboard.press("Enter")
    assert visit.segments()[-1] == "id 59"
    assert page.locator("#next").is_disabled()
    page.reload()
    page.locator("#segments article").first.wait_for()
    assert visit.segments()[0] == "id 40"


@pytest.mark.parametrize("fragment", ["#outputs?page=x&metric=99&order=nothing&size=0&a=-1", "#seg-absent", "#seg-%"])
def test_an_address_that_means_nothing_shows_everything(page_file: Path, visit: Visit, fragment: str) -> None:
    page = visit.open(page_file, fragment)
    page.locator("#segments article").first.wait_for()
    assert visit.segments()[0] == "id 0"


def test_a_link_leads_to_its_segment_on_its_page(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file, "#seg-id%2045")
    page.locator(".segment.linked").wait_for()
    assert page.locator(".segment.linked h3 a").text_content() == "id 45"
    assert page.evaluate("document.activeElement.classList.contains('linked')")
    assert visit.segments()[0] == "id 40"


def test_hostile_texts_stay_texts(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    page.fill("#query", "onerror")
    article = page.locator("#segments article")
    assert article.count() == 1
    article.locator("details", has_text="reference").locator("summary").first.click()
    assert article.locator(".said").first.inner_text().startswith(SHOWN_HOSTILE)
    assert page.locator("img").count() == 0
    assert page.title() == "2 runs side by side"
    # A link to it works too: its id is the hostile text.
    article.locator("h3 a").click()
    assert page.locator(".segment.linked h3 a").text_content() == f"5 {SHOWN_HOSTILE}"


def test_slots_words_and_n_best_of_an_output(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file, "#seg-id%204")
    poor = page.locator(".segment.linked .text").nth(1)
    assert poor.locator(".wrong").inner_text().endswith("area: city centre, not riverside")
    poor.locator("mark").first.wait_for()
    assert poor.locator("mark").all_text_contents() == ["city centre"]
    good = page.locator(".segment.linked .text").first
    assert good.locator(".realised").count() == 3
    assert good.locator(".missing").inner_text().endswith("food: Indian")
    good.locator("summary", has_text="n-best").click()
    assert good.locator(".n-best li").all_inner_texts() == [
        "Pub 4 is a pub in the riverside . -0.500",
        "Second of 4 -1.500",
    ]


def test_a_segment_is_copied_as_markdown(page_file: Path, browser: Any) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = Visit(context).open(page_file, "#seg-id%200")
    page.locator(".segment.linked").get_by_role("button", name="Copy as Markdown").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    context.close()
    assert "| good | Pub 0 is a pub in the riverside . |" in copied
    assert "| reference | There is a pub , Pub 0 , in the riverside . |" in copied


def test_wins_and_losses_by_group_add_up(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    table = page.locator("#groups table").first
    rows = [row.split("\t") for row in table.locator("tbody").inner_text().splitlines() if row.strip()]
    counts = {row[0]: [int(value) for value in row[1:5]] for row in rows}
    assert set(counts) == {"even", "odd"}
    for total, better, equal, worse in counts.values():
        assert total == 30 == better + equal + worse
    page.select_option("#pair-a", label="poor")
    assert "different systems" in page.locator("#groups").inner_text()
    page.select_option("#pair-b", label="good")
    swapped = [
        row.split("\t") for row in page.locator("#groups table").first.locator("tbody").inner_text().splitlines()
    ]
    assert {row[0]: [int(row[1]), int(row[4]), int(row[3]), int(row[2])] for row in swapped if len(row) > 4} == counts


def test_the_keyboard_alone_is_enough(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    page.locator("#segments article").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if reached[-1] == "query":
            break
    assert "theme" in reached
    assert "baseline" in reached
    assert reached[-1] == "query"
    page.keyboard.type("pub 33 ")
    assert visit.segments() == ["id 33"]


def test_a_legend_hides_a_runs_curves(page_file: Path, visit: Visit) -> None:
    page = visit.open(page_file)
    curve = page.locator('.curve[data-run="1"]').first
    assert curve.is_visible()
    page.get_by_label("poor", exact=True).uncheck()
    assert not curve.is_visible()
    assert page.locator('.curve[data-run="0"]').first.is_visible()


def test_the_theme_follows_the_system_and_the_button(page_file: Path, browser: Any) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = Visit(context).open(page_file)
        colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        colours[f"{scheme}, pressed"] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        context.close()
    assert colours["light"] != colours["dark"]
    assert colours["light, pressed"] == colours["dark"]
    assert colours["dark, pressed"] == colours["light"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])  # no colour depends on the width
def test_contrast_labels_and_landmarks_by_axe(page_file: Path, browser: Any, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = Visit(context).open(page_file)
    page.locator("#segments article").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    context.close()
    assert [(one["id"], [node["html"] for node in one["nodes"][:3]]) for one in found] == []


def test_on_paper_it_is_light_and_nothing_is_cut_off(page_file: Path, browser: Any) -> None:
    context = browser.new_context(color_scheme="dark", viewport={"width": 718, "height": 1000})  # A4 less its margins
    page = Visit(context).open(page_file)
    page.locator("#segments article").first.wait_for()
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#controls").is_visible()
    context.close()


def test_without_scripts_scores_and_curves_are_there(page_file: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = Visit(context).open(page_file)
    assert page.locator("#scores tbody tr").count() >= 2
    assert page.locator("#curves svg").count() >= 4
    assert "needs scripts" in page.locator("#outputs").inner_text()
    assert not page.locator("#theme").is_visible()
    context.close()


def test_the_index_finds_runs(two_runs: Path, page_file: Path, tmp_path: Path, visit: Visit) -> None:
    write_log(tmp_path / "runs" / "deep" / "one", steps=50)
    write_log(tmp_path / "runs" / "other", steps=100)
    (tmp_path / "runs" / "other" / "report.html").write_text("<title>its page</title>")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "scores.json").write_text(json.dumps([]))
    assert report.main([str(tmp_path / "runs")]) == 0
    page = visit.open(tmp_path / "runs" / "index.html")
    assert page.locator("#runs tbody th").all_text_contents() == ["deep/one", "other"]
    assert "scores.json" in page.locator("main").inner_text()
    page.fill("#find-run", "deep")
    assert page.locator("#runs tbody tr:visible").count() == 1
    page.fill("#find-run", "")
    page.get_by_role("link", name="other").click()
    assert page.title() == "its page"


def test_a_page_of_a_run_that_goes_on_loads_itself_anew(tmp_path: Path, visit: Visit) -> None:
    def write(steps: int) -> None:
        write_log(tmp_path, steps)
        (tmp_path / "report.html").write_text(build(Contents([Run("run", read_run(tmp_path))], refresh=1)))

    write(50)
    page = visit.open(tmp_path / "report.html")
    page.get_by_text("50 steps").wait_for()
    write(70)
    page.get_by_text("70 steps").wait_for()
    page.locator("#refreshing").uncheck()
    write(90)
    page.wait_for_timeout(1500)
    assert page.get_by_text("70 steps").count() == 1
