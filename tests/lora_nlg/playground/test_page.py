"""The page in a real browser, the server by hand, and the command as a process that Ctrl-C ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn and starlette (requirements-playground.txt)")
pytest.importorskip("starlette", reason="needs starlette (requirements-playground.txt)")

from lora_nlg.decoding import BeamSettings  # noqa: E402 (behind what it needs)
from lora_nlg.playground import Answer, Playground, Question  # noqa: E402
from lora_nlg.playground.server import application, listening_socket  # noqa: E402

from .conftest import CONTEXTS, HOSTILE  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
FIRST = BeamSettings(beam=4, n_best=3, eval_len=48)


@pytest.fixture(scope="module")
def address(playground: Playground) -> Iterator[str]:
    """The page, served by a thread of this process."""
    listening = listening_socket()
    server = uvicorn.Server(uvicorn.Config(application(playground, first=FIRST), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, its first answers given; in the end it must have asked this machine alone and complained of nothing."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address.rstrip("/"))
    page = context.new_page()
    page.set_default_timeout(60_000)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.asked, page.complaints = asked, complaints
    page.goto(address)
    settled(page)
    yield page
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:,"))] == []
    assert complaints == []


def settled(page: Any) -> None:
    """Wait until everything asked for has been answered."""
    page.wait_for_timeout(250)  # longer than a change waits for the next one
    page.locator("#status", has_text="Done").wait_for()


def shown(page: Any, side: int) -> list[str]:
    return [
        own.removesuffix(" ∎").strip() for own in page.locator(".side").nth(side).locator(".text").all_text_contents()
    ]


def expected(answer: Answer, penalty: float = FIRST.length_penalty) -> list[str]:
    return [answer.hypotheses[index].text for index, _ in answer.rankings[penalty]]


def test_the_dial_changes_the_text_by_keyboard(page: Any, playground: Playground) -> None:
    trained = expected(playground.ask(Question("one", 1.0, CONTEXTS[0], FIRST)))
    base = expected(playground.ask(Question("one", 0.0, CONTEXTS[0], FIRST)))
    assert shown(page, 0) == trained != base
    page.focus("#turn-0")
    page.keyboard.press("Home")
    settled(page)
    assert shown(page, 0) == base
    assert page.locator(".number").first.input_value() == "0"
    assert "the base" in page.locator(".meaning").first.text_content()
    page.locator(".number").first.fill("4")  # of 8 as trained
    page.keyboard.press("Tab")
    settled(page)
    assert shown(page, 0) == expected(playground.ask(Question("one", 0.5, CONTEXTS[0], FIRST)))


def test_two_runs_stand_side_by_side_and_either_can_go(page: Any, playground: Playground) -> None:
    assert shown(page, 1) == expected(playground.ask(Question("two", 1.0, CONTEXTS[0], FIRST))) != shown(page, 0)
    page.select_option("#system-1", "one")
    settled(page)
    assert shown(page, 1) == shown(page, 0)
    page.select_option("#system-1", label="nothing")
    settled(page)
    assert shown(page, 1) == [] and shown(page, 0)


def test_the_length_penalty_ranks_without_asking_for_a_search(page: Any, playground: Playground) -> None:
    answer = playground.ask(Question("one", 1.0, CONTEXTS[0], FIRST))
    page.asked.clear()
    page.focus("#penalty")
    for key, penalty in (("Home", 0.0), ("End", 2.0)):
        page.keyboard.press(key)
        page.wait_for_timeout(250)
        assert shown(page, 0) == expected(answer, penalty)
        assert page.locator("code").first.text_content().endswith(f"--length_penalty {penalty:g}")
    assert expected(answer, 0.0) != expected(answer, 2.0)
    assert {url.rpartition("/")[2] for url in page.asked} <= {"words"}


def test_words_are_shaded_by_their_probability(page: Any, playground: Playground) -> None:
    question = Question("one", 1.0, CONTEXTS[0], FIRST)
    answer = playground.ask(question)
    best = answer.hypotheses[answer.rankings[FIRST.length_penalty][0][0]]
    (found,) = playground.words(question, [best.tokens])
    page.locator(".side").first.locator(".text span").first.wait_for()
    spans = page.locator(".side").first.locator(".text").first.locator("span")
    doubts = [
        float(value) for value in spans.evaluate_all("all => all.map(own => own.style.getPropertyValue('--doubt'))")
    ]
    assert len(doubts) == len(found)
    assert doubts == pytest.approx([1 - 2.718281828**word.log_prob for word in found], abs=2e-3)
    colour = "own => getComputedStyle(own).backgroundColor"
    assert spans.first.evaluate(colour) not in ("rgba(0, 0, 0, 0)", "transparent")
    page.uncheck("#shades")
    assert spans.first.evaluate(colour) in ("rgba(0, 0, 0, 0)", "transparent")


def test_hostile_texts_stay_text(page: Any) -> None:
    def hostile_answer(route: Any) -> None:
        answer = route.fetch().json()
        for hypothesis in answer["hypotheses"]:
            hypothesis["text"] = HOSTILE
        for states in answer["slots"]:
            states[:] = [{"slot": HOSTILE, "value": HOSTILE, "state": "wrong", "found": HOSTILE}]
        route.fulfill(json={**answer, "note": HOSTILE})

    page.route("**/ask", hostile_answer)
    page.route("**/words", lambda route: route.fulfill(json={"words": []}))
    page.select_option("#contexts", "2")
    settled(page)
    assert page.input_value("#context") == CONTEXTS[2].strip()
    assert HOSTILE in page.locator("#references ul").text_content()
    assert set(shown(page, 0)) == {HOSTILE}
    assert HOSTILE in page.locator(".slots").first.text_content()
    assert HOSTILE in page.locator("code").first.text_content()
    assert page.locator("#error").text_content() == HOSTILE
    assert page.locator("main img, main b, main script").count() == 0
    assert page.title() == "lora-nlg playground"


def test_slots_are_typed_with_known_values_on_offer(page: Any) -> None:
    page.get_by_label("value").nth(1).focus()
    known = page.get_by_label("value").nth(1).evaluate("own => [...own.list.options].map(option => option.value)")
    assert known == ["3 crowns", "free"]
    page.get_by_label("value").nth(1).fill("free")
    assert page.input_value("#context") == "name : Red Lantern | fare : free"
    page.click("#add")
    page.keyboard.type("sights")
    page.keyboard.press("Tab")
    page.keyboard.type("puffins")
    assert page.input_value("#context") == "name : Red Lantern | fare : free | sights : puffins"
    page.get_by_role("button", name="remove fare 3 crowns").click()
    assert page.input_value("#context") == "name : Red Lantern | sights : puffins"
    page.fill("#context", "name : Gull")
    assert [own.input_value() for own in page.get_by_label("value").all()] == ["Gull"]
    page.fill("#find", "GULL")
    assert page.locator("#contexts option").all_text_contents() == ["name : Gull"]


def test_a_mistake_is_a_sentence(page: Any) -> None:
    page.fill("#setting-beam", "0")
    page.keyboard.press("Tab")
    alert = page.get_by_role("alert")
    alert.filter(has_text="Beam must be at least 1, got 0.").wait_for()
    page.fill("#setting-beam", "")
    page.keyboard.press("Tab")
    alert.filter(has_text="Beam must be a whole number.").wait_for()
    # The browser itself notes that the server refused.
    assert page.complaints and all("400 (Bad Request)" in own for own in page.complaints)
    page.complaints.clear()
    page.fill("#setting-beam", "2")
    page.keyboard.press("Tab")
    settled(page)
    assert alert.text_content() == ""


def test_sampling_by_seed(page: Any) -> None:
    searched = shown(page, 0)
    page.check("input[value=sample]")
    settled(page)
    first = shown(page, 0)
    page.fill("#setting-random_seed", "7")
    page.keyboard.press("Tab")
    settled(page)
    assert len({str(own) for own in (searched, first, shown(page, 0))}) == 3
    page.fill("#setting-random_seed", "0")
    page.keyboard.press("Tab")
    settled(page)
    assert shown(page, 0) == first


def test_everything_is_reached_by_keyboard(page: Any, playground: Playground) -> None:
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        own = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
        reached.append(page.evaluate(own))
        if reached[-1] == "context":
            page.keyboard.press("Control+a")
            page.keyboard.type("name : Gull")
            page.keyboard.press("Control+Enter")
    settled(page)
    wanted = [
        "find",
        "contexts",
        "previous",
        "next",
        "add",
        "setting-beam",
        "main",
        "penalty",
        "shades",
        "turn-0",
        "turn-1",
    ]
    assert set(wanted) | {"number", "copy", "system-0"} <= set(reached)
    assert [reached.index(own) for own in wanted] == sorted(reached.index(own) for own in wanted)
    assert shown(page, 0) == expected(playground.ask(Question("one", 1.0, "name : Gull", FIRST)))
    assert page.locator("#references").is_visible()  # the typed context is one of the corpus


def test_the_command_is_copied(page: Any) -> None:
    page.locator(".copy").first.click()
    page.locator(".copy", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("code").first.text_content() == f"ask {CONTEXTS[0]} --length_penalty 0.8"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_names_and_roles(page: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page.emulate_media(color_scheme=scheme)
    found = axe.Axe().run(page)
    assert [(own["id"], own["nodes"][0]["html"]) for own in found.response["violations"]] == []


@pytest.mark.parametrize("width", [360, 800])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def call(address: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address, data=data, headers=named)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_foreign_pages_and_odd_questions_are_refused(address: str) -> None:
    assert call(address)[0] == 200
    assert call(address, Host="evil.example")[0] == 400
    assert call(f"{address}server.py")[0] == call(f"{address}..%2fserver.py")[0] == 404
    question = json.dumps({"system": "one", "factor": 1, "context": "name : Gull", "search": {"eval_len": 4}}).encode()
    assert call(f"{address}ask", question, Content_Type="text/plain")[0] == 415
    as_json = {"Content_Type": "application/json"}
    assert call(f"{address}ask", question, **as_json)[0] == 200
    assert call(f"{address}ask", b" " * 1_000_001, **as_json)[0] == 413
    odd = [b"", b"[", b"[" * 9000, b"[]", b"{}", b'{"context": 3}', b'{"context": "x", "factor": true}']
    odd += [question.replace(b"4", value) for value in (b'"4"', b"1e999", b"4.5", b"null")]
    odd += [question.replace(b'"one"', b'"\\ud800"'), question.replace(b"Gull", b"\\ud800")]
    for body in odd:
        status, answer = call(f"{address}ask", body, **as_json)
        assert status == 400, body
        error = json.loads(answer)["error"]
        assert error[0].isupper() and error.endswith(".") and "`" not in error and "Traceback" not in error
    tokens = question[:-1] + b', "hypotheses": [[999999]]}'
    assert call(f"{address}words", tokens, **as_json)[0] == 400


def test_ctrl_c_ends_it_also_in_the_middle_of_a_search(runs: Path) -> None:
    names = [str(runs / "one"), str(runs / "two")]
    flags = ["--checkpoint", ",".join(names), "--data", str(runs / "test.jsonl"), "--open_browser", "false"]
    command = [sys.executable, "-m", "lora_nlg", "playground", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "playground at http://127.0.0.1:" in line
        address = line.split()[2]
        assert [own["name"] for own in json.loads(call(f"{address}start")[1])["systems"]] == names
        search = {"beam": 100, "n_best": 100, "eval_len": 100, "no_repeat_ngram_size": 0}
        question = {"system": names[0], "factor": 1, "context": "name : Gull", "search": search}
        body = json.dumps(question).encode()
        asking = threading.Thread(target=lambda: suppressed(f"{address}ask", body))
        asking.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        said = process.stderr.read()
        assert said.rstrip().endswith("stopped") and "Traceback" not in said
        asking.join()
    finally:
        process.kill()


def suppressed(address: str, body: bytes) -> None:
    try:
        call(address, body, Content_Type="application/json")
    except OSError:  # the server went away, as it should
        return


def test_without_its_package_the_command_says_what_to_install(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lora_nlg.__main__ import main

    monkeypatch.delitem(sys.modules, "lora_nlg.playground.server")
    monkeypatch.delattr("lora_nlg.playground.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["playground", "--checkpoint", str(runs / "one")]) == 1
    assert "requirements-playground.txt" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(
    runs: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lora_nlg.__main__ import main

    port = address.rstrip("/").rpartition(":")[2]
    for given in (port, "99999"):
        assert main(["playground", "--checkpoint", str(runs / "one"), "--port", given]) == 1
        assert f"--port {given} can't be used" in capsys.readouterr().err
