"""Tokenizes text with the library and the tokenizer.json of the Python client, and sends the tokens to embed_tokens.

Requests wait in lanes, as in embed_tokens. Each lane has its own threads, which tokenize requests and wait for
embed_tokens. So queries do not wait behind bulk work or long text. Waiting requests with the same parameters are joined
into one request to embed_tokens, because a request costs as much as a short sentence.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import threading
import time
from collections import deque
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

# The tokenizer's thread pool would compete with the encoder for the cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import triton_python_backend_utils as pb_utils

from .metrics import Metrics
from .text_queue import TextQueue, Waiting
from .tokenization import TextError, decode_texts, load_tokenizer, tokenize

LANES = ("canary", "query", "bulk")
DEFAULT_LANE = "query"
MICROSECOND_S = 1e-6
PUBLISH_PERIOD_S = 1.0
HELD_S = 0.5  # as in embed_tokens
SHORT_TEXT_BYTES = 16 * 1024  # takes some milliseconds; longer text is bulk work
BULK_NICENESS = 5
# Words in the error messages of embed_tokens: for temporary rejections, and for invalid parameters.
UNAVAILABLE_WORDS = (
    "lane is full",
    "Request timeout expired",
    "is not healthy",
    "Server not ready",
    "Server is stopping",
)
INVALID_WORDS = ("fingerprint mismatch", "lane is ")
# The parameters that embed_tokens reads.
PARAMETERS = ("lane", "fingerprint", "canary_key")
# Cancellation is checked after this wait, or for this much text.
MIN_CANCELLED_S, MIN_CANCELLED_BYTES = 0.05, 4096


class Failed(Exception):
    """embed_tokens failed on a valid request."""


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        settings = {
            name: int(value["string_value"]) for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.most_bytes = settings["TEXT_BYTES"]
        self.longest_wait_s = {lane: settings[f"{lane.upper()}_TIMEOUT_S"] for lane in LANES}
        self.canary_key = os.environ.get("SENTRITON_CANARY_KEY", "")
        folder = Path(args["model_repository"]) / args["model_version"]
        self.tokenizer = load_tokenizer(folder / "tokenizer.json")
        self.key = json.loads((folder / "key.json").read_text())["key"]
        self.queues = {
            lane: TextQueue(
                settings["WAITING_BYTES"],
                groups=settings["GROUPS_AWAY"],
                group_rows=settings["GROUP_ROWS"],
                group_bytes=SHORT_TEXT_BYTES,
            )
            for lane in LANES
        }
        turns = threading.Semaphore(settings["BULK_TOKENIZED"])
        self.turns = {"canary": nullcontext(), "query": nullcontext(), "bulk": turns}
        self.rows_lock, self.rows = threading.Lock(), 0
        # The family must live as long as its metric.
        self.rows_family = pb_utils.MetricFamily(
            name="sentriton_tokenized_rows_total",
            description="Rows of text that the server tokenized",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.rows_metric = self.rows_family.Metric(labels={})
        self.metrics = Metrics(LANES)
        self.held: deque[tuple[float, Any, Any]] = deque()
        self.closing = threading.Event()
        works = [partial(self.work, lane) for lane in LANES for _ in range(settings[f"{lane.upper()}_REQUESTS"])]
        self.workers = [threading.Thread(target=work, daemon=True) for work in [*works, self.publish]]
        for worker in self.workers:
            worker.start()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.accept(request, sender)
            except BaseException as error:  # a failed request must not affect the others
                refusal = f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL, "failed"
                self.send(sender, self.refusal(DEFAULT_LANE, *refusal))

    def finalize(self) -> None:
        self.closing.set()
        for queue in self.queues.values():
            queue.close()
        for worker in self.workers:
            worker.join()
        self.release(math.inf)

    def accept(self, request: Any, sender: Any) -> None:
        """Queue a request's text in its lane. An invalid request is answered at once."""
        text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        parameters = json.loads(request.parameters() or "{}")
        # Triton lets no model forward a fractional number. embed_tokens rejects it as text as well.
        parameters = {
            name: str(value) if isinstance(value, float) else value
            for name, value in parameters.items()
            if name in PARAMETERS
        }
        size = sum(map(len, text.flat))
        lane = self.lane(parameters, size)
        try:
            texts = decode_texts(text, self.most_bytes)
        except TextError as error:
            self.send(sender, self.refusal(lane, str(error), pb_utils.TritonError.INVALID_ARG, "invalid"))
            return
        if lane == "bulk" and parameters.get("lane") in (None, "query"):
            parameters["lane"] = lane  # long text, whose tokens must not delay the queries in embed_tokens either
        wait_s = self.longest_wait_s[lane]
        if asked := request.timeout():
            wait_s = min(wait_s, asked * MICROSECOND_S)
        waiting = Waiting(texts, size, time.monotonic() + wait_s, parameters, sender)
        if reason := self.queues[lane].add(waiting):
            message = f"the {lane} lane is full of text: {reason}; send again later"
            self.reject(waiting, self.refusal(lane, message, pb_utils.TritonError.UNAVAILABLE, "full"))

    def lane(self, parameters: dict[str, Any], size: int) -> str:
        """The lane for text of this size in bytes. embed_tokens checks the parameters themselves."""
        given = parameters.get("canary_key")
        if self.canary_key and isinstance(given, str) and hmac.compare_digest(given.encode(), self.canary_key.encode()):
            return "canary"
        return "bulk" if size > SHORT_TEXT_BYTES or parameters.get("lane") == "bulk" else DEFAULT_LANE

    def work(self, lane: str) -> None:
        if lane == "bulk":
            # On Linux this sets the priority of the thread. Bulk work yields the cores to all others.
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BULK_NICENESS)
        queue = self.queues[lane]
        while (group := queue.take()) is not None:
            answers = self.answers(group, lane)
            queue.came_back()  # before the answers are sent, so that the next group starts meanwhile
            for waiting, response in answers:
                if response.has_error():
                    self.reject(waiting, response)
                else:
                    self.send(waiting.handle, response)

    def answers(self, group: list[Waiting], lane: str) -> list[tuple[Waiting, Any]]:
        """A response for each request of a group."""
        refusals = {waiting: refusal for waiting in group if (refusal := explain_end(waiting))}
        left = [waiting for waiting in group if waiting not in refusals]
        answers = [(waiting, self.refusal(lane, *refusal)) for waiting, refusal in refusals.items()]
        if not left:
            return answers
        try:
            return answers + self.embed(left, lane)
        except TextError as error:
            refusal = str(error), pb_utils.TritonError.INVALID_ARG, "invalid"
        except Failed as error:
            refusal = str(error), pb_utils.TritonError.INTERNAL, None
        except BaseException as error:  # a thread must survive any failure of a text, even a panic in Rust
            refusal = f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL, "failed"
        if len(left) == 1:
            return [*answers, (left[0], self.refusal(lane, *refusal))]
        # A failed text must not affect the others of its group, so each is sent alone.
        return answers + [answer for waiting in left for answer in self.answers([waiting], lane)]

    def embed(self, group: list[Waiting], lane: str) -> list[tuple[Waiting, Any]]:
        """Send a group's text to embed_tokens as one request. Raises `TextError` for text without a token, and `Failed`
        if embed_tokens fails, possibly because of another text.
        """
        with self.turns[lane]:
            input_ids, row = tokenize(self.tokenizer, [text for waiting in group for text in waiting.texts])
        # Counted before the answer, since the supervisor needs to see progress even during a long row.
        with self.rows_lock:
            self.rows += int(row[-1]) + 1
        now = time.monotonic()
        left_s = min(waiting.deadline for waiting in group) - now
        waited_s = now - sum(waiting.arrived for waiting in group) / len(group)
        response = pb_utils.InferenceRequest(
            model_name="embed_tokens",
            requested_output_names=["sentence_embedding"],
            inputs=[pb_utils.Tensor("input_ids", input_ids[:, None]), pb_utils.Tensor("row", row[:, None])],
            parameters={
                **group[0].parameters,
                "requests": len(group),
                "waited_us": int(waited_s / MICROSECOND_S),
                "key": self.key,
            },
            timeout=max(1, int(left_s / MICROSECOND_S)),
        ).exec()
        if response.has_error():
            message = response.error().message()
            if (code := status(message)) == pb_utils.TritonError.INTERNAL:
                raise Failed(message)
            return [(waiting, error_response(message, code)) for waiting in group]
        embeddings = pb_utils.get_output_tensor_by_name(response, "sentence_embedding").as_numpy()
        answers, start = [], 0
        for waiting in group:
            own = pb_utils.Tensor("sentence_embedding", embeddings[start : start + len(waiting.texts)])
            answers.append((waiting, pb_utils.InferenceResponse([own])))
            start += len(waiting.texts)
        return answers

    def publish(self) -> None:
        # Not on every request, because each change of a metric is a message to Triton and back.
        while not self.closing.wait(PUBLISH_PERIOD_S):
            self.release(time.monotonic())
            with self.rows_lock:
                rows, self.rows = self.rows, 0
            if rows:
                self.rows_metric.increment(rows)
            self.metrics.publish({lane: queue.rows for lane, queue in self.queues.items()})

    def reject(self, waiting: Waiting, response: Any) -> None:
        """Send an error, but hold it near the request's deadline."""
        now = time.monotonic()
        if waiting.deadline < now + HELD_S:
            self.held.append((max(now, waiting.deadline) + HELD_S, waiting.handle, response))
        else:
            self.send(waiting.handle, response)

    def release(self, now: float) -> None:
        """Send the held errors that are due."""
        while self.held and self.held[0][0] <= now:
            _, sender, response = self.held.popleft()
            self.send(sender, response)

    def refusal(self, lane: str, message: str, code: int, reason: str | None) -> Any:
        """A counted error response. `reason` is None for an error of embed_tokens, or of Triton."""
        if reason is not None:
            self.metrics.refused(lane, reason)
        return error_response(message, code)

    def send(self, sender: Any, response: Any) -> None:
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:  # an answer that Triton rejects must not end the worker
            pb_utils.Logger.log_error(f"an answer could not be sent: {type(error).__name__}: {error}")


def error_response(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def explain_end(waiting: Waiting) -> tuple[str, int, str] | None:
    """The message, the status and the reason for a request that no longer needs its embeddings, or None."""
    waited_s = time.monotonic() - waiting.arrived
    if time.monotonic() >= waiting.deadline:
        message = f"Request timeout expired: it waited {waited_s:.3f} s for its turn"
        return message, pb_utils.TritonError.UNAVAILABLE, "expired"
    # The check takes 0.1 ms.
    worth_asking = waited_s > MIN_CANCELLED_S or waiting.size > MIN_CANCELLED_BYTES
    if worth_asking and waiting.handle.is_cancelled():
        return "the caller cancelled", pb_utils.TritonError.CANCELLED, "cancelled"
    return None


def status(message: str) -> int:
    """The status of an error of embed_tokens, by its message: Triton 24.10 always gives models INTERNAL."""
    if any(words in message for words in UNAVAILABLE_WORDS):
        return pb_utils.TritonError.UNAVAILABLE
    if any(words in message for words in INVALID_WORDS):
        return pb_utils.TritonError.INVALID_ARG
    return pb_utils.TritonError.INTERNAL
