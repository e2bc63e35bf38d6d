"""Embeds token ids: rejects invalid requests, queues valid rows, and answers with the embeddings.

Worker threads send the answers after `execute` has returned. So Triton delivers new requests at once, and the scheduler
can batch the rows of all callers.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from .allowance import Allowance
from .answers import Answers
from .batch_size import batches_in_flight
from .cache import cache_of_environment
from .metrics import Metrics
from .processes import resident_bytes
from .request import CALLERS_LANES, CANARY_LANE, DEFAULT_LANE, LANES, Request
from .scheduler import Batch, Scheduler
from .validation import (
    explain_fingerprint,
    explain_inputs,
    explain_lane,
    explain_pooled,
    explain_size,
    explain_tokens,
    has_canary_key,
)

# The model that computes a batch, and its requested output.
SENTENCES_OUTPUT = ("embed_batch", "sentence_embedding")
TOKENS_OUTPUT = ("encoder", "token_embeddings")
MICROSECOND_S = 1e-6
# Sending an answer waits for Triton. For each GPU, this many threads send answers while others compute. On a CPU, the
# next batch leaves after the answers, because it would take their cores. The p99 of 64 callers would rise by a quarter.
SENDING_THREADS = 4
PUBLISH_PERIOD_S = 1.0
MEMORY_PERIODS = 5  # reading the memory of all processes takes some milliseconds
# Triton's words for a Python stub that died or hung. In Triton 24.10, a stub that continues after a hang gives the
# abandoned answer to the next request. So this model stops answering, and the launcher reads its log and restarts.
UNHEALTHY_WORDS = "is not healthy"
# Triton's answers to its own models during a shutdown.
STOPPING_WORDS = ("Server not ready", "Server is stopping")


@dataclass(frozen=True)
class Caller:
    """The receiver of an answer. embed_text joins several `requests` for text into one, whose text waited there for
    `waited_s` on average, and never cancels it.
    """

    sender: Any
    requests: int = 1
    waited_s: float = 0.0
    cancels: bool = True


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.contract = json.loads((folder / "contract.json").read_text())
        self.canary_key = os.environ.get("SENTRITON_CANARY_KEY", "")
        config = json.loads(args["model_config"])
        settings = {name: int(value["string_value"]) for name, value in config["parameters"].items()}
        # Otherwise token embeddings would stay in the GPU's memory.
        self.host_memory = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)
        self.most_rows = settings["REQUEST_ROWS"]
        self.most_tokens = settings["TOKEN_EMBEDDINGS_TOKENS"]
        token_embedding_bytes = self.contract["hidden_size"] * np.dtype(np.float32).itemsize
        self.tokens_under_way = Allowance((settings["TOKEN_EMBEDDINGS_MIB"] << 20) // token_embedding_bytes)
        self.longest_wait_s = {lane: settings[f"{lane.upper()}_TIMEOUT_S"] for lane in LANES}
        gpus = int(os.environ.get("SENTRITON_GPUS", "0"))
        in_flight = batches_in_flight(settings["BATCHES_IN_FLIGHT"], gpus)
        alike = bool(settings["ALIKE_ROWS"])
        self.scheduler = Scheduler(
            batch_tokens=settings["BATCH_TOKENS"],
            most_batch_tokens=settings["MOST_BATCH_TOKENS"],
            block_tokens=settings["BLOCK_TOKENS"],
            batch_rows=settings["BATCH_ROWS"],
            alike=alike,
            batches_in_flight=in_flight,
            encoders=gpus or in_flight - 1,
            waiting_rows=settings["WAITING_ROWS"],
            on_expired=self.expire,
            is_cancelled=lambda request: request.handle.sender.is_cancelled(),
            on_cancelled=self.cancel,
        )
        self.cache = cache_of_environment(sum(group["count"] for group in config["instance_group"]))
        self.metrics = Metrics(LANES, pads=alike, row_cache=self.cache is not None)
        self.is_first = args["model_instance_name"].endswith("_0_0")
        self.unwell: str | None = None
        self.answers = Answers()
        self.on_gpu = gpus > 0
        workers = in_flight + SENDING_THREADS * gpus
        self.workers = [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]
        self.closing = threading.Event()
        self.workers.append(threading.Thread(target=self.publish, daemon=True))
        for worker in self.workers:
            worker.start()

    def execute(self, requests: list[Any]) -> None:
        accepted = [ours for request in requests if (ours := self.receive(request))]
        known = [request for request in accepted if not request.unknown]
        for request, reason in self.scheduler.add(*(request for request in accepted if request.unknown)).items():
            request.end()
            self.reject(request.handle, request.lane, reason, request.deadline)
        # Last, because sending each answer waits for Triton.
        for request in known:
            self.answer(request)

    def finalize(self) -> None:
        self.closing.set()
        self.scheduler.close()
        for worker in self.workers:
            worker.join()
        self.answers.close()

    def receive(self, request: Any) -> Request | None:
        """The accepted request, or None. It never raises, since an exception in `execute` would fail all requests."""
        caller = Caller(request.get_response_sender())
        try:
            parameters = json.loads(request.parameters() or "{}")
            if parameters.get("key") == self.contract["key"]:
                waited_s = parameters["waited_us"] * MICROSECOND_S
                caller = Caller(caller.sender, parameters["requests"], waited_s, cancels=False)
            return self.accept(request, parameters, caller)
        except Exception as error:
            self.refuse(caller, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL, "failed")
            return None

    def accept(self, request: Any, parameters: dict[str, Any], caller: Caller) -> Request | None:
        """Check a request. An invalid request is answered at once, and None is returned."""
        of_tokens = set(request.requested_output_names()) == {"token_embeddings"}
        lane = parameters.get("lane", DEFAULT_LANE)
        if of_tokens and lane == DEFAULT_LANE:
            lane = "bulk"  # queries must not wait for these large answers
        open_lanes = LANES if has_canary_key(parameters, self.canary_key) else CALLERS_LANES
        refusal = explain_lane(lane, open_lanes)
        self.metrics.came(DEFAULT_LANE if refusal else lane, caller.requests)
        # With an optional input, Triton 24.10 only counts the inputs and does not check their names.
        refusal = refusal or explain_inputs([tensor.name() for tensor in request.inputs()])
        if refusal := refusal or explain_fingerprint(parameters, self.contract["fingerprint"]):
            self.refuse(caller, refusal, pb_utils.TritonError.INVALID_ARG, "invalid")
            return None
        if self.unwell:
            self.refuse(caller, self.unwell, pb_utils.TritonError.UNAVAILABLE, "failed")
            return None
        wait_s = self.longest_wait_s[lane]
        if asked := request.timeout():
            wait_s = min(wait_s, asked * MICROSECOND_S)
        deadline = time.monotonic() + wait_s
        # Before the tensors are read, to save time: in an overload most requests end here.
        if self.cache is None and (reason := self.scheduler.why_full(lane, deadline)):
            self.reject(caller, lane, reason, deadline)
            return None
        return self.read(request, caller, lane, of_tokens, deadline)

    def read(self, request: Any, caller: Caller, lane: str, of_tokens: bool, deadline: float) -> Request | None:
        """Read and check a request's tensors. An invalid request is answered at once, and None is returned."""
        # Copies, since Triton reuses the request's memory after `execute` has returned.
        # Triton 24.10 takes [2^32 + 1, 1] for one row, and the stub then gets an array of one dimension.
        tensors = {tensor.name(): tensor.as_numpy().reshape(-1).copy() for tensor in request.inputs()}
        input_ids, row = tensors["input_ids"], tensors["row"]
        pooled = tensors.get("pooled", np.ones(len(row), np.bool_))
        refusal = explain_tokens(
            input_ids,
            row,
            pooled,
            vocab_size=self.contract["vocab_size"],
            max_seq_length=self.contract["max_seq_length"],
            max_rows=self.most_rows,
        )
        if of_tokens:
            refusal = refusal or explain_size(row, most_tokens=self.most_tokens)
        elif self.contract["pools_maximum"]:
            refusal = refusal or explain_pooled(row, pooled)
        if refusal:
            self.refuse(caller, refusal, pb_utils.TritonError.INVALID_ARG, "invalid")
            return None
        if of_tokens and not self.tokens_under_way.take(len(row)):
            taken, most = self.tokens_under_way.taken, self.tokens_under_way.most
            self.reject(caller, lane, f"embeddings of {taken:,} tokens are in progress; allowed are {most:,}", deadline)
            return None
        return Request(
            input_ids,
            pooled,
            row,
            deadline=deadline,
            lane=lane,
            of_tokens=of_tokens,
            handle=caller,
            arrived=time.monotonic() - caller.waited_s,
            on_end=(lambda: self.tokens_under_way.give(len(row))) if of_tokens else (lambda: None),
            known={} if of_tokens else self.known(lane, input_ids, pooled, row),
        )

    def known(
        self, lane: str, input_ids: NDArray[np.int32], pooled: NDArray[np.bool_], row: NDArray[np.int32]
    ) -> dict[int, NDArray[np.float32]]:
        """The cached rows of a request. Empty for the canary, which must test the model."""
        if self.cache is None or lane == CANARY_LANE:
            return {}
        found = self.cache.find(input_ids, pooled, row)
        self.metrics.found(lane, len(found))
        return found

    def work(self) -> None:
        while (batch := self.scheduler.take()) is not None:
            self.serve(batch)
            del batch  # its arrays would stay in memory until the next one

    def serve(self, batch: Batch) -> None:
        embeddings = None
        try:
            embeddings = self.embed(batch)
        except Exception as error:  # a worker must survive any failure of a batch
            self.fail(batch, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        if self.on_gpu:  # whose next batch need not wait for the answers
            self.scheduler.done(batch, embeddings is not None)
        if embeddings is not None:
            self.deliver(batch, embeddings)
        if not self.on_gpu:
            self.scheduler.done(batch, embeddings is not None)

    def embed(self, batch: Batch) -> NDArray[np.float32] | None:
        """Compute a batch. If Triton reports a failure, the requests are answered, and None is returned."""
        self.metrics.started(batch)
        input_ids, pooled, row = batch.tokens()
        tensors = {"input_ids": input_ids, "row": row, "key": np.full(len(row), self.contract["key"], np.int64)}
        if not batch.of_tokens:
            tensors["pooled"] = pooled
        model, output = TOKENS_OUTPUT if batch.of_tokens else SENTENCES_OUTPUT
        response = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=[output],
            inputs=[pb_utils.Tensor(name, values[:, None]) for name, values in tensors.items()],
            preferred_memory=self.host_memory,
        ).exec()
        if response.has_error() and UNHEALTHY_WORDS in response.error().message():
            self.unwell = response.error().message()
            pb_utils.Logger.log_error(self.unwell)
        if self.unwell:
            self.fail(batch, self.unwell, pb_utils.TritonError.UNAVAILABLE)
            return None
        if response.has_error():
            error = response.error()
            # Only Triton's message shows a shutdown. Callers then use another server or retry.
            stopping = any(words in error.message() for words in STOPPING_WORDS)
            self.fail(batch, error.message(), pb_utils.TritonError.UNAVAILABLE if stopping else error.code())
            return None
        embeddings: NDArray[np.float32] = pb_utils.get_output_tensor_by_name(response, output).as_numpy()
        wanted = len(row) if batch.of_tokens else len(batch.rows)
        if len(embeddings) != wanted:
            # This is the answer to another request, by a stub that continued after a hang.
            self.unwell = f"{model} gave {len(embeddings)} embeddings for {wanted}: it {UNHEALTHY_WORDS}"
            pb_utils.Logger.log_error(self.unwell)
            self.fail(batch, self.unwell, pb_utils.TritonError.UNAVAILABLE)
            return None
        if self.cache is not None and not batch.of_tokens and batch.lane != CANARY_LANE:
            self.cache.keep(input_ids, pooled, row, embeddings)
        return embeddings

    def deliver(self, batch: Batch, embeddings: NDArray[np.float32]) -> None:
        """Answer the requests that a computed batch completes."""
        try:
            for request in batch.deliver(embeddings):
                if request.end():
                    self.answer(request)
        except Exception as error:  # as in `serve`
            self.fail(batch, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)

    def answer(self, request: Request) -> None:
        try:
            response = self.response(request)
        except Exception as error:  # the request has ended, so only this answer can reach its caller
            self.refuse(request.handle, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL, "failed")
            return
        if response is not None:
            self.metrics.answered(request, request.handle.requests)
            self.answers.send(request.handle.sender, response)

    def response(self, request: Request) -> Any:
        """The response to a completed request. If the model gave NaN or infinity, the request is refused instead."""
        # The tokens are valid, so the model is the cause, for example by an overflow in fp16.
        if not np.isfinite(request.embeddings).all():
            wrong = np.flatnonzero(~np.isfinite(request.embeddings).all(axis=1))
            rows = np.unique(request.row[wrong] if request.of_tokens else wrong).tolist()
            message = f"the model gave an embedding that is not finite for valid input (rows {rows})"
            self.refuse(request.handle, message, pb_utils.TritonError.INTERNAL, "not_finite")
            return None
        _, output = TOKENS_OUTPUT if request.of_tokens else SENTENCES_OUTPUT
        return pb_utils.InferenceResponse([pb_utils.Tensor(output, request.embeddings)])

    def publish(self) -> None:
        memory: dict[str, int] = {}
        for period in itertools.count():
            if self.closing.wait(PUBLISH_PERIOD_S):
                return
            self.answers.release(time.monotonic())
            waiting = {lane: self.scheduler.waiting(lane) for lane in LANES}
            if self.is_first and period % MEMORY_PERIODS == 0:
                memory = resident_bytes()
            self.metrics.publish(waiting, memory, self.cache.bytes if self.cache else 0)

    def expire(self, request: Request) -> None:
        message = f"Request timeout expired: it waited {time.monotonic() - request.arrived:.3f} s for its turn"
        self.refuse(request.handle, message, pb_utils.TritonError.UNAVAILABLE, "expired", request.deadline)

    def cancel(self, request: Request) -> None:
        self.refuse(request.handle, "the caller cancelled", pb_utils.TritonError.CANCELLED, "cancelled")

    def fail(self, batch: Batch, message: str, code: int) -> None:
        for request in batch.requests():
            if request.end():
                self.refuse(request.handle, message, code, "failed")

    def reject(self, caller: Caller, lane: str, reason: str, deadline: float) -> None:
        message = f"the {lane} lane is full: {reason}; send again later"
        self.refuse(caller, message, pb_utils.TritonError.UNAVAILABLE, "full", deadline)

    def refuse(self, caller: Caller, message: str, code: int, reason: str, deadline: float = math.inf) -> None:
        self.metrics.refused(reason, caller.requests)
        response = pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
        self.answers.queue(caller.sender, response, deadline if caller.cancels else math.inf)
