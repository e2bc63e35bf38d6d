"""Tokenizes as the Python client does: the same library reads the same tokenizer.json.

Short text is tokenized at once while none waits. All other text waits in a queue for one of two threads, of which one
takes short text and one long text.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

# A pool of threads of its own would fight the encoder for the cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import triton_python_backend_utils as pb_utils
from text_queue import CANARY, LONG, SHORT, TextQueue, Waiting
from tokenization import TextError, decode_texts, load_tokenizer, tokenize

MICROSECONDS = 1e-6
PUBLISH_PERIOD_S = 1.0
LONG_TEXT_NICENESS = 5


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        settings = {
            name: int(value["string_value"]) for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.most_bytes = settings["TEXT_BYTES"]
        self.longest_wait_s = settings["TIMEOUT_S"]
        self.canary_key = os.environ.get("SENTRITON_CANARY_KEY", "")
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
        works = [lambda: self.work(CANARY, SHORT), self.work_on_long_text, self.publish]
        self.workers = [threading.Thread(target=work, daemon=True) for work in works]
        for worker in self.workers:
            worker.start()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.accept(request, sender)
            except BaseException as error:  # one request must not cost another its answer
                self.refuse(sender, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)

    def finalize(self) -> None:
        self.closing.set()
        self.queue.close()
        for worker in self.workers:
            worker.join()

    def accept(self, request: Any, sender: Any) -> None:
        """Tokenize a request's text, or put it into the queue."""
        text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        try:
            texts = decode_texts(text, self.most_bytes)
        except TextError as error:
            self.refuse(sender, str(error), pb_utils.TritonError.INVALID_ARG)
            return
        wait_s = self.longest_wait_s
        if asked := request.timeout():
            wait_s = min(wait_s, asked * MICROSECONDS)
        waiting = Waiting(
            texts,
            size=sum(map(len, text.flat)),
            deadline=time.monotonic() + wait_s,
            is_canary=self.is_canary(request),
            handle=sender,
        )
        if waiting.lane != LONG and self.queue.is_idle():
            self.answer(waiting)
        elif reason := self.queue.add(waiting):
            self.refuse(sender, f"the text lane is full: {reason}; send again later", pb_utils.TritonError.UNAVAILABLE)

    def is_canary(self, request: Any) -> bool:
        given = json.loads(request.parameters() or "{}").get("canary_key")
        key = self.canary_key
        return bool(key) and isinstance(given, str) and hmac.compare_digest(given.encode(), key.encode())

    def work_on_long_text(self) -> None:
        # On Linux this is the thread's own priority: long text leaves the cores to all others.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LONG_TEXT_NICENESS)
        self.work(LONG)

    def work(self, *lanes: str) -> None:
        while (waiting := self.queue.take(lanes)) is not None:
            waited_s = time.monotonic() - waiting.arrived
            if time.monotonic() >= waiting.deadline:
                message = f"Request timeout expired: it waited {waited_s:.3f} s for its turn"
                self.refuse(waiting.handle, message, pb_utils.TritonError.UNAVAILABLE)
                continue
            try:
                self.answer(waiting)
            except BaseException as error:  # a worker must outlive whatever one text does, a panic in Rust too
                self.refuse(waiting.handle, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)

    def answer(self, waiting: Waiting) -> None:
        try:
            input_ids, row = tokenize(self.tokenizer, waiting.texts)
        except TextError as error:
            self.refuse(waiting.handle, str(error), pb_utils.TritonError.INVALID_ARG)
            return
        with self.rows_lock:
            self.rows += len(waiting.texts)
        tensors = [pb_utils.Tensor("input_ids", input_ids[:, None]), pb_utils.Tensor("row", row[:, None])]
        self.send(waiting.handle, pb_utils.InferenceResponse(tensors))

    def publish(self) -> None:
        # Each change of a metric is a message to Triton and back: not one for each request.
        while not self.closing.wait(PUBLISH_PERIOD_S):
            with self.rows_lock:
                rows, self.rows = self.rows, 0
            if rows:
                self.rows_metric.increment(rows)

    def refuse(self, sender: Any, message: str, code: int) -> None:
        self.send(sender, pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)))

    def send(self, sender: Any, response: Any) -> None:
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:  # one answer that Triton does not take must not cost others their worker
            pb_utils.Logger.log_error(f"an answer could not be sent: {type(error).__name__}: {error}")
