"""Tokenizes as the Python client does: the same library reads the same tokenizer.json.

Short text is tokenized and answered at once. Long text waits in a queue for a thread of its own, so that it does not
hold up others.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

# A pool of threads of its own would fight the encoder for the cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import triton_python_backend_utils as pb_utils
from text_queue import TextQueue, Waiting
from tokenization import TextError, decode_texts, load_tokenizer, tokenize

MICROSECONDS = 1e-6
PUBLISH_PERIOD_S = 1.0
SHORT_BYTES = 16 * 1024  # some milliseconds of work
LONG_TEXT_NICENESS = 5


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        settings = {
            name: int(value["string_value"]) for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.most_bytes = settings["TEXT_BYTES"]
        self.longest_wait_s = settings["TIMEOUT_S"]
        folder = Path(args["model_repository"]) / args["model_version"]
        self.tokenizer = load_tokenizer(folder / "tokenizer.json")
        self.queue = TextQueue(settings["WAITING_BYTES"])
        self.rows_lock, self.rows = threading.Lock(), 0
        # The family must live as long as its metric.
        self.rows_family = pb_utils.MetricFamily(
            name="sentriton_tokenized_rows_total",
            description="Rows of text tokenized",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.rows_metric = self.rows_family.Metric(labels={})
        self.closing = threading.Event()
        self.workers = [threading.Thread(target=work, daemon=True) for work in (self.work, self.publish)]
        for worker in self.workers:
            worker.start()

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.respond(request) for request in requests]

    def finalize(self) -> None:
        self.closing.set()
        self.queue.close()
        for worker in self.workers:
            worker.join()

    def respond(self, request: Any) -> Any:
        """The response to a request of short text; None for one that waits."""
        text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        try:
            texts = decode_texts(text, self.most_bytes)
        except TextError as error:
            return refusal(str(error), pb_utils.TritonError.INVALID_ARG)
        size = sum(map(len, text.flat))
        if size <= SHORT_BYTES:
            return self.answer(texts)
        wait_s = self.longest_wait_s
        if asked := request.timeout():
            wait_s = min(wait_s, asked * MICROSECONDS)
        waiting = Waiting(texts, size, time.monotonic() + wait_s, request.get_response_sender())
        if reason := self.queue.add(waiting):
            message = f"the text lane is full: {reason}; send again later"
            self.send(waiting.handle, refusal(message, pb_utils.TritonError.UNAVAILABLE))
        return None

    def work(self) -> None:
        # On Linux this is the thread's own priority: long text leaves the cores to all others.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LONG_TEXT_NICENESS)
        while (waiting := self.queue.take()) is not None:
            if (now := time.monotonic()) >= waiting.deadline:
                message = f"Request timeout expired: it waited {now - waiting.arrived:.3f} s for its turn"
                response = refusal(message, pb_utils.TritonError.UNAVAILABLE)
            else:
                response = self.answer(waiting.texts)
            self.send(waiting.handle, response)

    def answer(self, texts: list[str]) -> Any:
        try:
            input_ids, row = tokenize(self.tokenizer, texts)
        except TextError as error:
            return refusal(str(error), pb_utils.TritonError.INVALID_ARG)
        except BaseException as error:  # a thread must outlive whatever one text does, a panic in Rust too
            return refusal(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        with self.rows_lock:
            self.rows += len(texts)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("input_ids", input_ids[:, None]), pb_utils.Tensor("row", row[:, None])]
        )

    def publish(self) -> None:
        # Each change of a metric is a message to Triton and back: not one for each request.
        while not self.closing.wait(PUBLISH_PERIOD_S):
            with self.rows_lock:
                rows, self.rows = self.rows, 0
            if rows:
                self.rows_metric.increment(rows)

    def send(self, sender: Any, response: Any) -> None:
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:  # one answer that Triton does not take must not cost others their worker
            pb_utils.Logger.log_error(f"an answer could not be sent: {type(error).__name__}: {error}")


def refusal(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
