"""From gRPC's errors to Sentriton's."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import grpc
import pytest

import sentriton
from sentriton import errors
from tests.conftest import ROOT
from tests.snippets import blocks


class Failure(grpc.RpcError):
    """gRPC's exception, as far as the client reads it."""

    def __init__(self, status: grpc.StatusCode, message: str | None) -> None:
        self._status, self._message = status, message

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str | None:
        return self._message


PAGE = ROOT / "docs/reference/errors.md"
ERROR_CLASSES = {
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.SentritonError) and value.__module__ == errors.__name__
}


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
def test_every_status_has_its_own_entry(status: grpc.StatusCode) -> None:
    assert issubclass(errors._BY_STATUS[status], errors.SentritonError)
    raised = errors.translate(Failure(status, "what happened"), "host:8001")
    assert type(raised) is errors._BY_STATUS[status]
    assert "what happened" in str(raised)


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
@pytest.mark.parametrize("message", [None, ""])
def test_an_error_without_a_message_still_says_something(status: grpc.StatusCode, message: str | None) -> None:
    assert str(errors.translate(Failure(status, message), "host:8001"))


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", errors.Overloaded),
        ("UNAVAILABLE", "Request timeout expired", errors.Overloaded),
        (
            "UNAVAILABLE",
            "the query lane is full: 8192 rows wait, at most 8192 may; send again later",
            errors.Overloaded,
        ),
        ("UNAVAILABLE", "failed to connect to all addresses", errors.ServerUnavailable),
        ("UNAVAILABLE", "Socket closed", errors.ServerUnavailable),
        (
            "UNAVAILABLE",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'",
            errors.AccessDenied,
        ),
        (
            "UNAVAILABLE",
            "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: self signed certificate",
            errors.AccessDenied,
        ),
        ("UNAVAILABLE", "UNAUTHENTICATED: Hostname Verification Check failed.", errors.AccessDenied),
        # Errors for callers of a stopping Triton 24.10 (SIGTERM under load), besides refused connections.
        ("CANCELLED", "CANCELLED", errors.ServerUnavailable),
        ("NOT_FOUND", "Request for unknown model: 'embed_tokens' has no available versions", errors.ServerUnavailable),
        (
            "UNAVAILABLE",
            "in ensemble 'embed_tokens', [request id: <id_unknown>] Server is stopping, scheduler for model has "
            "stopped accepting new inference requests",
            errors.ServerUnavailable,
        ),
        # gRPC's errors of a channel or a call that this client closed itself.
        ("CANCELLED", "Channel closed!", errors.ServerError),
        ("CANCELLED", "Locally cancelled by application!", errors.ServerError),
        ("INTERNAL", "Received RST_STREAM with error code 2", errors.ServerUnavailable),
        ("UNKNOWN", "Stream removed", errors.ServerUnavailable),
        ("INTERNAL", "Stub process 'encoder_0_0' is not healthy.", errors.ServerUnavailable),
        (
            "INTERNAL",
            "Failed to process the request(s) for model 'encoder_0_1', message: Failed to increase the shared memory "
            "pool size for key 'sentriton-x_3' to 17825792 bytes. Error: No space left on device",
            errors.Overloaded,
        ),
        ("INTERNAL", "the model gave a sentence embedding that is not finite", errors.ServerError),
        ("INVALID_ARGUMENT", "fingerprint mismatch: the request is for model 'a'", errors.ContractMismatch),
        ("INVALID_ARGUMENT", "input_ids holds 99 in row 0", errors.InvalidInput),
        ("INTERNAL", "fingerprint mismatch", errors.ServerError),
        ("INVALID_ARGUMENT", "Exceeds maximum queue size", errors.InvalidInput),
    ],
)
def test_tritons_words_decide_where_its_status_says_too_little(
    status: str, message: str, expected: type[Exception]
) -> None:
    assert errors.error_class(grpc.StatusCode[status], message) is expected


def test_an_unreachable_server_is_named_with_what_to_do() -> None:
    words = "Failed to connect to remote host: Connection refused"
    with (
        pytest.raises(
            errors.ServerUnavailable, match=rf"^no answer from host:8001: {words}; is it running\? `sentriton serve`"
        ),
        errors.translated("host:8001"),
    ):
        raise Failure(
            grpc.StatusCode.UNAVAILABLE,
            "connections to all backends failing; last error: UNKNOWN: ipv6:%5B::1%5D:9: Failed to connect to remote "
            "host: Connection refused",
        )


def test_the_grpc_error_stays_the_cause() -> None:
    failure = Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    with pytest.raises(errors.DeadlineExceeded, match="did not answer in time") as caught, errors.translated("host"):
        raise failure
    assert caught.value.__cause__ is failure


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), errors.translated("host:8001"):
        raise KeyError("unrelated")


def test_invalid_input_is_a_value_error() -> None:
    assert issubclass(errors.ContractMismatch, errors.InvalidInput)
    assert issubclass(errors.InvalidInput, ValueError)


def test_the_page_shows_the_tree_of_all_classes() -> None:
    (tree,) = (each.code for each in blocks(PAGE, "text") if each.code.startswith("SentritonError"))
    path: list[str] = []
    shown = {}
    for line in tree.splitlines():
        name, *others = re.findall(r"\w+", line)
        depth = line.index(name) // len("├── ")
        path[depth:] = [name]
        shown[name] = [*path[depth - 1 : depth], *others]
    bases = {kind.__name__: [base.__name__ for base in kind.__bases__] for kind in ERROR_CLASSES}
    assert shown == bases | {"SentritonError": []}


def test_the_page_documents_all_classes() -> None:
    places = re.findall(r"^<!-- ::: sentriton\.(\w+) -->$", PAGE.read_text(encoding="utf-8"), re.M)
    assert sorted(places) == sorted(kind.__name__ for kind in ERROR_CLASSES)


def test_every_error_is_public() -> None:
    assert {kind.__name__ for kind in ERROR_CLASSES} <= set(sentriton.__all__)


def test_all_lists_exactly_the_public_names() -> None:
    public = {
        name
        for name, value in vars(sentriton).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert sorted(public | {"__version__"}) == sorted(sentriton.__all__)
