"""Times the report in the system's Chromium: bytes, time to the first paint, to the data, of a filter, a sort, a page.

python bench/report.py --data data/dart/test.jsonl --systems 6 --n_best 10

The systems are made from the references: words left out or doubled at random, as many hypotheses each as asked for.
METEOR, TER and the like are computed as always; that part of the time is the scorers'. Beside the time on the clock
stands the processor time of the page's main thread, which other work on the machine doesn't lengthen.
"""

from __future__ import annotations

import argparse
import json
import math
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
# Sets a control, fires its event, and tells how long that took, and how long until the next frame was drawn.
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


def measure(page_file: Path, browser: Any) -> dict[str, tuple[float, float]]:
    """Of one visit: what -> milliseconds on the clock, and of the main thread's processor time."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        metrics = {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]}
        return 1000 * float(metrics["TaskDuration"])

    start = time.perf_counter()
    page.goto(page_file.as_uri(), wait_until="commit")
    page.locator("#segments article").first.wait_for()
    found = {"outputs there": (1000 * (time.perf_counter() - start), worked())}
    found["first paint"] = (float(page.evaluate(PAINT)), math.nan)
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
        page.wait_for_timeout(1500)  # as a reader looks first: the page becomes idle
        before = worked()
        handled, _ = page.evaluate(ACT, list(act))
        found[name] = (handled, worked() - before)
    page.evaluate(ACT, ["problem", "", "change"])
    before, start = worked(), time.perf_counter()
    page.locator(".segment summary", has_text="n-best").first.click()
    page.locator(".n-best li").first.wait_for()
    found["n-best, first"] = (1000 * (time.perf_counter() - start), worked() - before)
    page.close()
    return found


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
    print(f"{'median of ' + str(TRIALS):28s}{'clock':>10s}{'processor':>12s}   (ms)")
    for name in visits[0]:
        clock, processor = (statistics.median(visit[name][kind] for visit in visits) for kind in (0, 1))
        print(f"{name:28s}{clock:10.1f}" + (f"{processor:12.1f}" if math.isfinite(processor) else ""))


if __name__ == "__main__":
    main()
