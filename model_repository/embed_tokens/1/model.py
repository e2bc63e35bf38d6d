"""Takes token ids in, refuses what is not valid, and answers with sentence embeddings when their rows had their turn.

Requests are answered from worker threads, after `execute` has returned; so Triton hands over new ones at once, and rows
of all callers are on the scheduler's table together.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from cache import cache_of_environment
from metrics import Metrics
from numpy.typing import NDArray
from processes import resident_bytes
from scheduling import CALLERS_LANES, CANARY_LANE, DEFAULT_LANE, LANES, Request, Scheduler, Step
from validation import explain_fingerprint, explain_lane, explain_tokens, has_canary_key

INNER_MODEL = "embed_batch"
MICROSECONDS = 1e-6
PUBLISH_PERIOD_S = 1.0
# Triton's words of a Python stub that died or stood still. Seen on Triton 24.10: one that goes on gives the answer that
# Triton gave up waiting for to the next request. So nothing is answered then; the launcher reads the log and restarts.
UNHEALTHY = "is not healthy"
# What a server that shuts down answers to its own models.
STOPPING = ("Server not ready", "Server is stopping")


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.contract = json.loads((folder / "contract.json").read_text())
        self.canary_key = os.environ.get("SENTRITON_CANARY_KEY", "")
        settings = {
            name: int(value["string_value"]) for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.longest_wait_s = {lane: settings[f"{lane.upper()}_TIMEOUT_S"] for lane in LANES}
        self.scheduler = Scheduler(
            step_tokens=settings["STEP_TOKENS"],
            step_rows=settings["STEP_ROWS"],
            steps_in_flight=settings["STEPS_IN_FLIGHT"],
            waiting_rows=settings["WAITING_ROWS"],
            on_expired=self.expire,
            is_cancelled=lambda request: request.handle.is_cancelled(),
            on_cancelled=self.cancel,
        )
        self.cache = cache_of_environment()
        self.metrics = Metrics(LANES, row_cache=self.cache is not None)
        self.unwell: str | None = None
        self.workers = [threading.Thread(target=self.work, daemon=True) for _ in range(settings["STEPS_IN_FLIGHT"])]
        self.closing = threading.Event()
        self.workers.append(threading.Thread(target=self.publish, daemon=True))
        for worker in self.workers:
            worker.start()

    def execute(self, requests: list[Any]) -> None:
        accepted = [ours for request in requests if (ours := self.accept(request))]
        known = [request for request in accepted if not request.unknown]
        for request, reason in self.scheduler.add(*(request for request in accepted if request.unknown)).items():
            message = f"the {request.lane} lane is full: {reason}; send again later"
            self.refuse(request.handle, message, pb_utils.TritonError.UNAVAILABLE, "full")
        # After what others compute meanwhile: each answer waits for Triton's receipt.
        for request in known:
            self.answer(request)

    def finalize(self) -> None:
        self.closing.set()
        self.scheduler.close()
        for worker in self.workers:
            worker.join()

    def accept(self, request: Any) -> Request | None:
        """Check a request; what is wrong is answered at once, and None returned."""
        sender = request.get_response_sender()
        parameters = json.loads(request.parameters() or "{}")
        # Copies: the request's own memory is Triton's again when `execute` returns.
        input_ids, attention_mask = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy().copy()
            for name in ("input_ids", "attention_mask")
        )
        lane = parameters.get("lane", DEFAULT_LANE)
        open_lanes = LANES if has_canary_key(parameters, self.canary_key) else CALLERS_LANES
        refusal = explain_lane(lane, open_lanes)
        self.metrics.came(DEFAULT_LANE if refusal else lane)
        refusal = refusal or explain_fingerprint(parameters, self.contract["fingerprint"])
        refusal = refusal or explain_tokens(
            input_ids,
            attention_mask,
            vocab_size=self.contract["vocab_size"],
            max_seq_length=self.contract["max_seq_length"],
        )
        if refusal:
            self.refuse(sender, refusal, pb_utils.TritonError.INVALID_ARG, "invalid")
            return None
        if self.unwell:
            self.refuse(sender, self.unwell, pb_utils.TritonError.UNAVAILABLE, "failed")
            return None
        wait_s = self.longest_wait_s[lane]
        if asked := request.timeout():
            wait_s = min(wait_s, asked * MICROSECONDS)
        return Request(
            input_ids,
            attention_mask,
            deadline=time.monotonic() + wait_s,
            lane=lane,
            handle=sender,
            known=self.known(lane, input_ids, attention_mask),
        )

    def known(
        self, lane: str, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> dict[int, NDArray[np.float32]]:
        """What the cache has of a request's rows; nothing for the canary, which is there to see the model at work."""
        if self.cache is None or lane == CANARY_LANE:
            return {}
        found = self.cache.find(input_ids, attention_mask)
        self.metrics.found(lane, len(found))
        return found

    def work(self) -> None:
        while (step := self.scheduler.take()) is not None:
            try:
                self.embed(step)
            except Exception as error:  # a worker must outlive whatever one step does
                self.fail(step, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
            finally:
                self.scheduler.done(step)

    def embed(self, step: Step) -> None:
        self.metrics.started(step)
        input_ids, attention_mask = step.tokens()
        response = pb_utils.InferenceRequest(
            model_name=INNER_MODEL,
            requested_output_names=["sentence_embedding"],
            inputs=[pb_utils.Tensor("input_ids", input_ids), pb_utils.Tensor("attention_mask", attention_mask)],
        ).exec()
        if response.has_error() and UNHEALTHY in response.error().message():
            self.unwell = response.error().message()
            pb_utils.Logger.log_error(self.unwell)
        if self.unwell:
            self.fail(step, self.unwell, pb_utils.TritonError.UNAVAILABLE)
            return
        if response.has_error():
            error = response.error()
            # It says so by words alone; its callers shall go elsewhere, or come again.
            stopping = any(words in error.message() for words in STOPPING)
            self.fail(step, error.message(), pb_utils.TritonError.UNAVAILABLE if stopping else error.code())
            return
        embeddings = pb_utils.get_output_tensor_by_name(response, "sentence_embedding").as_numpy()
        if self.cache is not None and step.lane != CANARY_LANE:
            self.cache.keep(input_ids, attention_mask, embeddings)
        for request in step.deliver(embeddings):
            if request.end():
                self.answer(request)

    def answer(self, request: Request) -> None:
        # Its tokens were found valid, so this is the model's doing: an overflow in fp16, say.
        if not np.isfinite(request.embeddings).all():
            rows = np.flatnonzero(~np.isfinite(request.embeddings).all(axis=1)).tolist()
            message = f"the model gave a sentence embedding that is not finite for valid input (rows {rows})"
            self.refuse(request.handle, message, pb_utils.TritonError.INTERNAL, "not_finite")
            return
        self.metrics.answered(request)
        tensor = pb_utils.Tensor("sentence_embedding", request.embeddings)
        self.send(request.handle, pb_utils.InferenceResponse([tensor]))

    def publish(self) -> None:
        while not self.closing.wait(PUBLISH_PERIOD_S):
            waiting = {lane: self.scheduler.waiting(lane) for lane in LANES}
            self.metrics.publish(waiting, resident_bytes(), self.cache.bytes if self.cache else 0)

    def expire(self, request: Request) -> None:
        message = f"Request timeout expired: it waited {time.monotonic() - request.arrived:.3f} s for its turn"
        self.refuse(request.handle, message, pb_utils.TritonError.UNAVAILABLE, "expired")

    def cancel(self, request: Request) -> None:
        self.refuse(request.handle, "the caller cancelled", pb_utils.TritonError.CANCELLED, "cancelled")

    def fail(self, step: Step, message: str, code: int) -> None:
        for request in step.requests():
            if request.end():
                self.refuse(request.handle, message, code, "failed")

    def refuse(self, sender: Any, message: str, code: int, reason: str) -> None:
        self.metrics.refused(reason)
        self.send(sender, pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)))

    def send(self, sender: Any, response: Any) -> None:
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:  # one answer that Triton does not take must not cost others their worker
            pb_utils.Logger.log_error(f"an answer could not be sent: {type(error).__name__}: {error}")
