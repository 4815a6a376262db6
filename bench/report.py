"""Times the report in the system's Chromium: bytes, time to the first paint, to the data, of a filter, a sort, a page.

python bench/report.py --data data/dart/test.jsonl --systems 6 --n_best 10

The systems are made from the references: words left out or doubled at random, as many hypotheses each as asked for.
METEOR, TER and the like are computed as always; that part of the time is the scorers'.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nlg_metrics.commands import report

TRIALS = 5
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
# Sets a control, fires its event, and tells how long the page took until the next frame was drawn.
ACT = """([id, value, event]) => new Promise((done) => {
  const start = performance.now(), control = document.getElementById(id);
  if (value !== null) control.value = value;
  control.dispatchEvent(new Event(event));
  const handled = performance.now() - start;
  requestAnimationFrame(() => setTimeout(() => done([handled, performance.now() - start])));
})"""


def texts(reference: str, draw: random.Random, count: int) -> Iterator[str]:
    """Hypotheses: the reference with words left out or doubled."""
    for _ in range(count):
        kept = [word for word in reference.split() for _ in range(draw.choices((0, 1, 2), (5, 92, 3))[0])]
        yield " ".join(kept)


def write_system(data: Path, folder: Path, seed: int, n_best: int) -> None:
    """One system's predictions: equal contexts get equal hypotheses."""
    draw = random.Random(seed)
    made: dict[str, list[str]] = {}
    folder.mkdir()
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
        for line in data.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            found = made.setdefault(record["context"], list(texts(record["references"][0], draw, n_best)))
            rows = [{"hypothesis": text, "score": -0.1 * place} for place, text in enumerate(found)]
            file.write(json.dumps({"id": record["id"], **rows[0], "n_best": rows}) + "\n")


def measure(page_file: Path, browser: Any) -> dict[str, float]:
    """Milliseconds of one visit."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    start = time.perf_counter()
    page.goto(page_file.as_uri(), wait_until="commit")
    page.locator("#segments article").first.wait_for()
    there = 1000 * (time.perf_counter() - start)
    page.evaluate("new Promise((done) => requestIdleCallback(() => setTimeout(done, 1000)))")  # as a reader looks first
    found = {"outputs there": there, "first paint": float(page.evaluate(PAINT))}
    acts = {
        "filter by a frequent text": ("query", "the", "input"),
        "filter by text": ("query", "city", "input"),
        "filter by a rare text": ("query", "qqq", "input"),
        "no filter": ("query", "", "input"),
        "sort by disagreement": ("order", "disagreement", "change"),
        "sort by what carries": ("order", "carried", "change"),
        "filter repeated words": ("problem", "repeats", "change"),
        "compare two systems": ("pair-a", "2", "change"),
    }
    for name, act in acts.items():
        found[name], found[f"{name}, drawn"] = page.evaluate(ACT, list(act))
    page.evaluate(ACT, ["problem", "", "change"])
    found["n-best, first"] = _n_best(page)
    page.close()
    return found


def _n_best(page: Any) -> float:
    start = time.perf_counter()
    page.locator(".segment summary", has_text="n-best").first.click()
    page.locator(".n-best li").first.wait_for()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Make the page and measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--systems", type=int, default=6)
    parser.add_argument("--n_best", type=int, default=10)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / f"system-{number}" for number in range(options.systems)]
        for seed, folder in enumerate(folders):
            write_system(options.data, folder, seed, options.n_best)
        start, processor = time.perf_counter(), time.process_time()
        report.main([*map(str, folders), "--data", str(options.data)])
        print(
            f"made in {time.perf_counter() - start:.1f} s ({time.process_time() - processor:.1f} s of processor time)"
        )
        page_file = Path(place) / "report.html"
        print(f"{page_file.stat().st_size / 2**20:.2f} MiB")
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=flags)
            visits = [measure(page_file, browser) for _ in range(TRIALS)]
            browser.close()
    for name in visits[0]:
        times = [visit[name] for visit in visits]
        print(f"{name:40s} median {statistics.median(times):7.1f} ms, longest {max(times):7.1f} ms")


if __name__ == "__main__":
    main()
