"""How large batches for a GPU are, by the model's width and the GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass

# A batch of these activations keeps a large GPU's matrix units at their rate, and takes milliseconds.
_BATCH_ACTIVATIONS = 8192 * 1024
_MIN_BATCH_TOKENS = 8192
_MAX_BATCH_TOKENS = 32768  # of a narrow model: the fixed cost of an operation weighs more
_MULTIPLE_TOKENS = 1024
# Of the memory: the weights, Triton's pool and other processes take the rest.
_ACTIVATIONS_FRACTION = 0.125
# Per token: hidden states, the fused projection and attention's context; the intermediate layer's output before and
# after its activation.
_HIDDEN_STATES = 7
_INTERMEDIATE_STATES = 2
# Of the smallest GPU in use for this. An export on a machine without a GPU is for any.
ASSUMED_MEMORY = 16 << 30

_REQUEST_ROWS = 256
_MAX_REQUEST_TOKENS = (1 << 20) - 1  # as large as a batch dimension may be: see encoder/config.pbtxt
_SHORT_ROW_TOKENS = 8
_WAITING_ROWS = 32_768
# Of one GPU: two that are computed or on their way, so that it does not wait for the host, and one that is formed.
_BATCHES_IN_FLIGHT = 3


@dataclass(frozen=True)
class GpuSizes:
    """Of a request: rows. Of a batch: tokens, and the most rows. `batches_in_flight`: of one GPU, `waiting_rows`: of a
    lane.
    """

    request_rows: int
    batch_tokens: int
    batch_rows: int
    batches_in_flight: int = _BATCHES_IN_FLIGHT
    waiting_rows: int = _WAITING_ROWS


def gpu_sizes(
    hidden_size: int, intermediate_size: int, max_seq_length: int, bytes_per_value: int, memory: int = ASSUMED_MEMORY
) -> GpuSizes:
    """Sizes for a GPU of this memory (bytes). `bytes_per_value`: of an activation."""
    wanted = max(_MIN_BATCH_TOKENS, min(_BATCH_ACTIVATIONS // hidden_size, _MAX_BATCH_TOKENS))
    token_bytes = (_HIDDEN_STATES * hidden_size + _INTERMEDIATE_STATES * intermediate_size) * bytes_per_value
    fitting = int(memory * _ACTIVATIONS_FRACTION) // token_bytes
    batch_tokens = max(_MULTIPLE_TOKENS, min(wanted, fitting) // _MULTIPLE_TOKENS * _MULTIPLE_TOKENS)
    request_rows = max(1, min(_REQUEST_ROWS, _MAX_REQUEST_TOKENS // max_seq_length))
    return GpuSizes(request_rows, batch_tokens, max(request_rows, batch_tokens // _SHORT_ROW_TOKENS))
