"""The sizes of batches for a GPU, by the model's width and the GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass

from sentriton_server.request_rows import accepted_rows

# A batch with this number of activations uses a large GPU's matrix units fully, and takes milliseconds.
_BATCH_ACTIVATIONS = 8192 * 1024
_MIN_BATCH_TOKENS = 8192
_MAX_BATCH_TOKENS = 32768  # for a narrow model, whose fixed cost per operation is higher
_MULTIPLE_TOKENS = 1024
# Fraction of the memory. Weights, Triton's pool and other processes use the rest.
_ACTIVATIONS_FRACTION = 0.125
# Per token: hidden states, the fused projection, attention's context, and the intermediate layer's output before and
# after the activation.
_HIDDEN_STATES = 7
_INTERMEDIATE_STATES = 2
# The memory of the smallest common GPU, for exports on a machine without a GPU.
ASSUMED_MEMORY = 16 << 30

_SHORT_ROW_TOKENS = 8
_WAITING_ROWS = 32_768
# Per GPU: two batches in computation or transfer, so that the GPU does not wait for the host, and one that is formed.
_BATCHES_IN_FLIGHT = 3
# A thread tokenizes some 15,000 short sentences per second, fewer than an H100 embeds with a large encoder
# (benchmarks.text). The encoder leaves the cores free.
_BULK_TOKENIZED = 4


@dataclass(frozen=True)
class GpuSizes:
    """The limits for a GPU: tokens and rows of a batch, batches in flight per GPU, waiting rows of a lane.
    `bulk_tokenized` is the number of groups of bulk text that are tokenized at the same time.
    """

    batch_tokens: int
    batch_rows: int
    batches_in_flight: int = _BATCHES_IN_FLIGHT
    waiting_rows: int = _WAITING_ROWS
    bulk_tokenized: int = _BULK_TOKENIZED


def gpu_sizes(
    hidden_size: int, intermediate_size: int, max_seq_length: int, bytes_per_value: int, memory: int = ASSUMED_MEMORY
) -> GpuSizes:
    """The sizes for a GPU with this memory (bytes). `bytes_per_value` is the size of an activation."""
    wanted = max(_MIN_BATCH_TOKENS, min(_BATCH_ACTIVATIONS // hidden_size, _MAX_BATCH_TOKENS))
    token_bytes = (_HIDDEN_STATES * hidden_size + _INTERMEDIATE_STATES * intermediate_size) * bytes_per_value
    fitting = int(memory * _ACTIVATIONS_FRACTION) // token_bytes
    batch_tokens = max(_MULTIPLE_TOKENS, min(wanted, fitting) // _MULTIPLE_TOKENS * _MULTIPLE_TOKENS)
    return GpuSizes(batch_tokens, max(accepted_rows(max_seq_length), batch_tokens // _SHORT_ROW_TOKENS))
