"""The page and the four addresses behind it, served to this machine's own browser alone (library: Starlette, uvicorn).

Nothing but 127.0.0.1 is listened on. Requests under another host name are refused, so that no name that points here
lets a foreign page read; so are bodies that aren't declared as JSON, which no foreign page may send. The page
is told by `Content-Security-Policy` to load and call nothing but this server.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from lora_nlg import __version__
from lora_nlg.decoding import BeamSettings, SamplingSettings
from lora_nlg.errors import InputError
from lora_nlg.playground.engine import MOST_BEAMS, PENALTIES, Playground, Question

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
HOST = "127.0.0.1"
LONGEST_BODY = 1_000_000
"""Bytes of a question."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
FIRST = BeamSettings(n_best=5)
"""What the page starts with."""
S = TypeVar("S", BeamSettings, SamplingSettings)


def listening_socket(port: int = 0) -> socket.socket:
    """A socket on 127.0.0.1 that listens.

    Args:
        port: 0 takes one that is free. Default: 0.

    Raises:
        InputError: the port is taken or not for us to use.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((HOST, port))
        server.listen()
    except (OSError, OverflowError) as error:
        server.close()
        raise InputError(f"`port` {port} can't be used: {error}; leave it out to get one that is free") from None
    return server


def serve(playground: Playground, listening: socket.socket, factor: float = 1.0) -> None:
    """Serve the page until Ctrl-C.

    Args:
        playground: what it asks.
        listening: as `listening_socket` gives it; closed in the end.
        factor: where the first dial stands. Default: 1, as trained.
    """

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if playground.is_busy:  # a search can't be broken off, and there is nothing to save
                log.info("stopped")
                os._exit(0)
            super().handle_exit(sig, frame)

    # Logging stays as the command has set it up.
    config = uvicorn.Config(application(playground, factor), log_config=None, access_log=False)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with listening:
        Server(config).run(sockets=[listening])


def application(playground: Playground, factor: float = 1.0, first: BeamSettings = FIRST) -> Starlette:
    """The page as an ASGI application.

    Args:
        playground: what it asks.
        factor: where the first dial stands. Default: 1, as trained.
        first: the search it starts with. Default: that of `lora-nlg decode`, with five texts.
    """

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in {path.name for path in ASSETS.iterdir()}:
            return _refusal(f"There is no {name} here.", 404)
        return FileResponse(ASSETS / name, headers=HEADERS)

    async def start(request: Request) -> Response:
        return JSONResponse(start_values(playground, factor, first), headers=HEADERS)

    def answer(value: Mapping[str, Any]) -> dict[str, Any]:
        found = playground.ask(question_from(value))
        rankings = [
            {"penalty": penalty, "order": [{"index": index, "score": _finite(score)} for index, score in ranking]}
            for penalty, ranking in found.rankings.items()
        ]
        return {**asdict(found), "rankings": rankings}

    def sure(value: Mapping[str, Any]) -> dict[str, Any]:
        found = playground.words(question_from(value), _tokens(value.get("hypotheses")))
        return {"words": [[asdict(word) for word in own] for own in found]}

    return Starlette(
        routes=[
            Route("/", page),
            Route("/start", start),
            Route("/ask", _answering(answer), methods=["POST"]),
            Route("/words", _answering(sure), methods=["POST"]),
            Route("/{name}", page),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def start_values(playground: Playground, factor: float, first: BeamSettings) -> dict[str, Any]:
    """What the page is built from: systems, contexts, known values, settings and their defaults."""
    systems = [
        {
            "name": own.name,
            "scaling": own.scaling,
            "fixed": own.fixed,
            "step": own.run.info.step,
            "method": str(own.run.info.method),
        }
        for own in playground.systems.values()
    ]
    corpus = playground.corpus
    return {
        "version": __version__,
        "systems": systems,
        "factor": factor,
        "contexts": [{"context": context, "references": own} for context, own in corpus.contexts.items()],
        "width": corpus.width,
        "values": corpus.values,
        "search": asdict(first),
        "sampling": asdict(SamplingSettings()),
        "penalties": PENALTIES,
        "most_beams": MOST_BEAMS,
    }


def question_from(value: Mapping[str, Any]) -> Question:
    """The question a request asks.

    Raises:
        InputError: a part is absent, of another kind than it must be, or out of range.
    """
    context = value.get("context")
    if not isinstance(context, str):
        raise InputError("`context` must be a text")
    sampling = value.get("sampling")
    return Question(
        system=str(value.get("system")),
        factor=_number("alpha/r", value.get("factor"), whole=False),
        context=context.strip(),
        search=_settings(BeamSettings, value.get("search")),
        sampling=None if sampling is None else _settings(SamplingSettings, sampling),
    )


def _settings(kind: type[S], value: Any) -> S:
    given = value if isinstance(value, dict) else {}
    taken: dict[str, Any] = {}
    for own in fields(kind):
        if own.name in given and own.name != "end_ids":
            is_number = own.type in ("int", "float")
            taken[own.name] = _number(own.name, given[own.name], own.type == "int") if is_number else given[own.name]
    return kind(**taken)


def _number(name: str, value: Any, whole: bool) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (whole and int(value) != value):
        raise InputError(f"`{name}` must be a {'whole ' if whole else ''}number")
    return int(value) if whole else float(value)


def _tokens(value: Any) -> list[list[int]]:
    if not isinstance(value, list) or len(value) > MOST_BEAMS or not all(isinstance(own, list) for own in value):
        raise InputError(f"`hypotheses` must be up to {MOST_BEAMS} lists of tokens")
    return [[_number("token", token, whole=True) for token in own] for own in value]


def _answering(answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[Request], Any]:
    """A JSON question in, a JSON answer out; what went wrong as a sentence for the page."""

    async def respond(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _refusal("A question is JSON.", 415)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_BODY:
                return _refusal("The context is too long.", 413)
        try:
            value = await run_in_threadpool(_parsed, body)
            return JSONResponse(await run_in_threadpool(answer, value), headers=HEADERS)
        except InputError as error:
            return _refusal(_sentence(str(error)), 400)
        except (MemoryError, RuntimeError) as error:  # torch's out of memory is a RuntimeError
            return _refusal(_sentence(f"this is too much for the machine: {str(error).splitlines()[0]}"), 500)

    return respond


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the question is not JSON") from None
    if not isinstance(value, dict):
        raise InputError("the question is not a JSON object")
    return value


def _finite(score: float) -> float | None:
    # Minus infinity is no JSON number; it is the score of a search that found nothing.
    return score if score > float("-inf") else None


def _sentence(message: str) -> str:
    plain = message.replace("`", "").strip()
    return f"{plain[:1].upper()}{plain[1:]}{'' if plain.endswith(('.', '!', '?')) else '.'}"


def _refusal(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status_code=status, headers=HEADERS)
