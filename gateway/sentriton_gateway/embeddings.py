"""POST /v1/embeddings."""

from __future__ import annotations

import base64

import numpy as np
import orjson
from fastapi import Request, Response
from numpy.typing import NDArray

from sentriton_gateway.answers import Refused
from sentriton_gateway.callers import while_connected
from sentriton_gateway.encoder import CountingEncoder
from sentriton_gateway.faults import shown, too_many_inputs
from sentriton_gateway.messages import EmbeddingsRequest
from sentriton_gateway.metrics import GatewayMetrics
from sentriton_gateway.settings import GatewaySettings


class Embedder:
    """Answers requests for embeddings through one encoder, which joins waiting requests."""

    def __init__(self, encoder: CountingEncoder, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self._encoder = encoder
        self._settings = settings
        self._metrics = metrics

    async def answer(self, body: EmbeddingsRequest, request: Request) -> Response:
        """Answer a request. Raises `Refused` and `SentritonError`s."""
        rows, most = body.rows(), self._settings.gateway_max_inputs
        if len(rows) > most:
            raise Refused(400, *too_many_inputs(len(rows), most))
        await self._check_served(body.model)
        embeddings, tokens, manifest = await while_connected(
            request,
            self._encoder.embed(
                rows,
                prompt_name=body.prompt_name,
                truncate_dim=body.dimensions,
                normalize_embeddings=self._settings.gateway_normalize,
            ),
        )
        # The server may have another model by now.
        check_model(body.model, manifest.name, self._settings.gateway_model_name)
        self._metrics.inputs.inc(len(rows))
        self._metrics.tokens.inc(tokens)
        values = _in_base64(embeddings) if body.encoding_format == "base64" else list(embeddings)
        content = {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(values)],
            "model": manifest.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        # The shortest digits of each float32, which parse to the same float32.
        return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    async def _check_served(self, asked: str) -> None:
        """Raises `Refused` for a model that the server does not serve."""
        try:
            check_model(asked, (await self._encoder.info()).name, self._settings.gateway_model_name)
        except Refused:
            manifest = await self._encoder.served_now()
            check_model(asked, manifest.name, self._settings.gateway_model_name)


def check_model(asked: str, name: str, second_name: str | None) -> None:
    """Raises `Refused` for a model that is not served."""
    names = [each for each in (name, second_name) if each is not None]
    if asked not in names:
        raise Refused(
            404,
            f"model is {shown(asked)}; the server has {' or '.join(map(repr, names))}",
            "model_not_found",
            "model",
        )


def _in_base64(embeddings: NDArray[np.float32]) -> list[str]:
    return [base64.b64encode(row.tobytes()).decode() for row in embeddings.astype("<f4", copy=False)]
