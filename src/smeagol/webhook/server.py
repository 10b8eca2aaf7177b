"""The webhooks over HTTPS: bounded bodies in, verdicts out.

    POST /inject            Pods that an object may select
    POST /inject/labelled   Pods for which a label asks, their own or their namespace's
    POST /validate          the kinds of smi-spec.io
    GET  /healthz           200 as soon as there is a server

What is no review is answered with 400 and the reason. A fault of ours is logged and answered with 500: the API server
then does what the failure policy of the webhook says.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from smeagol import serving
from smeagol.durations import Durations
from smeagol.webhook.configurations import INJECT_LABELLED_PATH, INJECT_PATH
from smeagol.webhook.review import BadReviewError, Verdict, encode_verdict, parse_review
from smeagol.webhook.review import Request as Review

__all__ = ["MAX_BODY_BYTES", "Reviews", "serve", "webhook_app"]

log = structlog.get_logger(__name__)

Judge = Callable[[Review], Verdict]

MAX_BODY_BYTES = 8 * 1024 * 1024
"""The API server takes objects of at most 3 MiB, and a review of an update holds two of them."""

_KEEP_ALIVE_SECONDS = 120
"""Longer than the API server keeps an idle connection (90 s): who hangs up first must not be us, or a review that is
just on its way fails."""


@dataclass(slots=True)
class Reviews:
    """What was asked: how often, by path and verdict, and how long an answer took, by path.

    Verdicts are `allowed`, `patched`, `refused`, and `failed` for what got none.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: defaultdict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))

    def note(self, path: str, verdict: str, seconds: float) -> None:
        self.counts[path, verdict] += 1
        self.durations[path].add(seconds)


def webhook_app(*, inject: Judge, inject_labelled: Judge, validate: Judge, reviews: Reviews | None = None) -> ASGIApp:
    """`inject_labelled` answers for Pods of which the API server has seen that a label asks for a proxy. `reviews`:
    where to count them."""
    counted = reviews if reviews is not None else Reviews()
    return Starlette(
        routes=[
            Route(INJECT_PATH, _answering(inject, counted), methods=["POST"]),
            Route(INJECT_LABELLED_PATH, _answering(inject_labelled, counted), methods=["POST"]),
            Route("/validate", _answering(validate, counted), methods=["POST"]),
            Route("/healthz", _healthy, methods=["GET"]),
        ]
    )


async def serve(app: ASGIApp, sockets: list[socket.socket], context: ssl.SSLContext) -> None:
    """Serve until cancelled. What is being answered then is answered, idle connections are closed."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
        ssl_context_factory=lambda _config, _default: context,
    )
    await serving.serve(config, sockets)


def _answering(judge: Judge, reviews: Reviews) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        began = time.perf_counter()
        response, verdict = await judged(request)
        reviews.note(request.url.path, verdict, time.perf_counter() - began)
        return response

    async def judged(request: Request) -> tuple[Response, str]:
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400), "failed"  # to nobody
        if body is None:
            text = f"the review is larger than {MAX_BODY_BYTES} bytes"
            return PlainTextResponse(text, status_code=413, headers={"connection": "close"}), "failed"
        try:
            review = parse_review(body)
            verdict = judge(review)
            return Response(encode_verdict(review, verdict), media_type="application/json"), _said(verdict)
        except BadReviewError as error:
            log.warning("review not understood", path=request.url.path, error=str(error))
            return PlainTextResponse(str(error), status_code=400), "failed"
        except Exception:
            log.exception("review failed", path=request.url.path)
            return PlainTextResponse("a fault of Smeagol's; its log says more", status_code=500), "failed"

    return answer


def _said(verdict: Verdict) -> str:
    if verdict.refusal:
        return "refused"
    return "patched" if verdict.patch else "allowed"


async def _body(request: Request) -> bytes | None:
    """The whole body, or None for one that is too large, of which no more is read than that."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")
