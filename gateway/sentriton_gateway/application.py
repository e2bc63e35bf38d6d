"""The gateway as an ASGI application."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from sentriton import ClientSettings, __version__
from sentriton.errors import Overloaded, SentritonError
from sentriton.manifest import Manifest
from sentriton_gateway.answers import (
    Refused,
    answer_http_error,
    answer_invalid_body,
    answer_refused,
    answer_sentriton_error,
)
from sentriton_gateway.embeddings import Embedder, check_model
from sentriton_gateway.encoder import CountingEncoder
from sentriton_gateway.guard import Guard
from sentriton_gateway.kept import Kept
from sentriton_gateway.large_bodies import Reader, reading_route
from sentriton_gateway.messages import EmbeddingsAnswer, EmbeddingsRequest, ErrorAnswer, Health, Model, Models
from sentriton_gateway.metrics import GatewayMetrics
from sentriton_gateway.page import PAGE, PAGE_HEADERS
from sentriton_gateway.settings import GatewaySettings

_HEALTH_TIMEOUT_S = 5.0
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The request is wrong."},
    401: {"model": ErrorAnswer, "description": "The access key is missing or wrong."},
    404: {"model": ErrorAnswer, "description": "The server has no such model."},
    408: {"model": ErrorAnswer, "description": "The body takes too long to arrive."},
    413: {"model": ErrorAnswer, "description": "The body, or a message to the server, is too large."},
    429: {"model": ErrorAnswer, "description": "The server or the gateway has too much to do."},
    502: {"model": ErrorAnswer, "description": "The server failed, or refuses the gateway."},
    503: {"model": ErrorAnswer, "description": "The server is not reachable, or does not serve."},
    504: {"model": ErrorAnswer, "description": "The server did not answer in time."},
    "default": {"model": ErrorAnswer, "description": "Another error."},
}


def make_application(client: ClientSettings, settings: GatewaySettings) -> ASGIApp:
    """The gateway to the server of `client`. It connects at its first request."""
    encoder = CountingEncoder(**dataclasses.asdict(client))
    metrics = GatewayMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        yield
        await encoder.close()

    app = FastAPI(
        title="Sentriton gateway",
        version=__version__,
        description="OpenAI's embeddings API for a Sentriton server.",
        lifespan=lifespan,
        # Their pages would load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # its redirects would use http and the Host of the request
    )
    for error, answer in (
        (Refused, answer_refused),
        (SentritonError, answer_sentriton_error),
        (HTTPException, answer_http_error),
        (RequestValidationError, answer_invalid_body),
    ):
        app.add_exception_handler(error, answer)
    _add_api(app, encoder, settings, metrics)
    _add_pages(app, encoder, metrics)
    return Guard(app, settings, settings.gateway_access_key or client.access_key, metrics)


def _add_api(app: FastAPI, encoder: CountingEncoder, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
    embedder = Embedder(encoder, settings, metrics)
    app.router.route_class = reading_route(Reader(settings.gateway_max_inputs))
    # Only for the OpenAPI file, since the guard has already checked the key.
    key = Depends(HTTPBearer(auto_error=False, description="The access key, if the gateway has one."))

    @app.post(
        "/v1/embeddings",
        responses={200: {"model": EmbeddingsAnswer}, **_ERRORS},
        response_model=None,
        dependencies=[key],
    )
    async def create_embeddings(body: EmbeddingsRequest, request: Request) -> Response:
        """Embed text or token ids."""
        return await embedder.answer(body, request)

    @app.get("/v1/models", responses=_ERRORS, dependencies=[key])
    async def list_models() -> Models:
        """The served model."""
        return Models(data=[_model(await encoder.served_now())])

    @app.get("/v1/models/{model:path}", responses=_ERRORS, dependencies=[key])
    async def retrieve_model(model: str) -> Model:
        """The served model by its name."""
        manifest = await encoder.served_now()
        check_model(model, manifest.name, settings.gateway_model_name)
        return _model(manifest)


def _add_pages(app: FastAPI, encoder: CountingEncoder, metrics: GatewayMetrics) -> None:
    canary = Kept(partial(encoder.health, _HEALTH_TIMEOUT_S))  # probes need no key

    @app.get("/health", responses=_ERRORS)
    async def health() -> Health:
        """Whether the server answers with the right vectors."""
        try:
            report = await canary.get()
        except Overloaded:
            # A server with a full queue works. Removing its gateway would not reduce the load.
            return Health(status="overloaded", model=None, min_cosine=None)
        return Health(model=report.manifest.name, min_cosine=report.min_cosine)

    @app.get("/metrics", include_in_schema=False)
    async def publish_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(PAGE, media_type="text/html; charset=utf-8", headers=PAGE_HEADERS)


def _model(manifest: Manifest) -> Model:
    return Model(
        id=manifest.name,
        dimension=manifest.dimension,
        max_seq_length=manifest.max_seq_length,
        vocab_size=manifest.vocab_size,
        similarity=manifest.similarity,
        pooling=manifest.pooling,
        prompts=list(manifest.prompts),
        precision=manifest.precision,
        device=manifest.device,
        fingerprint=manifest.fingerprint,
    )
