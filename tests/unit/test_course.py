"""The course of a call, attempt by attempt: the requests, the retries, the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sentriton import DeadlineExceeded, InvalidInput, Overloaded, SentritonError, ServerError, ServerUnavailable
from sentriton.course import Course, Sending
from sentriton.deadline import Deadline
from sentriton.endpoints import Endpoint, Endpoints
from sentriton.pacing import Backoff, RetryBudget, Window
from sentriton.requests import RequestRows
from sentriton.tokenization import pack_rows


def rows(index: int, size: int = 10) -> RequestRows:
    return RequestRows([index], pack_rows([[1] * size]))


def make_course(
    requests: int = 4,
    deadline: float | None = 100.0,
    limit: int = 2,
    budget: float = 100.0,
    stall: float = 1e9,
    servers: str = "a",
) -> Course:
    return Course(
        (rows(index) for index in range(requests)),
        total=requests,
        deadline=Deadline(deadline, stall, 0.0),
        endpoints=Endpoints([Endpoint(address, None) for address in servers]),
        window=Window(limit=limit),
        budget=RetryBudget(tokens=budget),
        backoff=Backoff(first_s=1.0, most_s=8.0),
    )


def send_all(course: Course, now: float) -> Iterator[Sending]:
    """All requests that may be sent now."""
    while True:
        course.prepare()
        sending = course.next(now)
        if sending is None:
            return
        sending.endpoint.begin(sending, now)
        yield sending


def test_no_more_is_under_way_than_the_window_allows() -> None:
    course = make_course(limit=2)
    first = list(send_all(course, 0))
    assert [sending.attempt.rows.indices for sending in first] == [[0], [1]]
    course.answered(first[0], 1)
    assert [sending.attempt.rows.indices for sending in send_all(course, 1)] == [[2]]


def test_a_call_is_done_when_every_sentence_is() -> None:
    course = make_course(requests=3)
    now = 0.0
    while not course.done:
        for attempt in send_all(course, now):
            course.answered(attempt, now)
        now += 1
    assert course.finished == 3


@pytest.mark.parametrize("error", [ServerUnavailable("away"), Overloaded("full")])
def test_what_may_pass_is_sent_again_after_a_wait(error: SentritonError) -> None:
    course = make_course(requests=1)
    (attempt,) = send_all(course, 0)
    course.failed(attempt, error, 0)
    assert list(send_all(course, 0)) == []
    wait_s = course.wait_s(0)
    assert 0.2 <= wait_s <= 1.0
    (again,) = send_all(course, wait_s)
    assert again.attempt.rows is attempt.attempt.rows
    assert again.attempt.number == 2


@pytest.mark.parametrize("error", [InvalidInput("wrong"), ServerError("broken"), DeadlineExceeded("late")])
def test_what_cannot_pass_ends_the_call_at_once(error: SentritonError) -> None:
    course = make_course()
    (attempt, *_) = send_all(course, 0)
    with pytest.raises(type(error), match=str(error)):
        course.failed(attempt, error, 0)


def test_the_error_says_how_far_the_call_got() -> None:
    course = make_course(requests=4, deadline=10)
    first, second = send_all(course, 0)
    course.answered(first, 1)
    with pytest.raises(ServerUnavailable, match=r"away \(1 of 4 sentences were embedded\)"):
        course.failed(second, ServerUnavailable("away"), 9.9)


def test_nothing_is_sent_after_the_deadline() -> None:
    course = make_course(deadline=5)
    course.prepare()
    with pytest.raises(DeadlineExceeded, match="0 of 4"):
        course.next(5)
    assert course.wait_s(4) == 1


def test_the_retry_budget_ends_a_call_that_only_burdens_a_full_server() -> None:
    course = make_course(requests=1, deadline=1e9, budget=3)
    now = 0.0
    for _ in range(3):
        (attempt,) = send_all(course, now)
        course.failed(attempt, Overloaded("full"), now)
        now += course.wait_s(now)
    (attempt,) = send_all(course, now)
    with pytest.raises(Overloaded):
        course.failed(attempt, Overloaded("full"), now)


def test_a_server_that_is_away_is_asked_again_until_the_deadline_whatever_the_budget() -> None:
    course = make_course(requests=1, deadline=100, budget=3)
    now = 0.0
    while now < 100 - 8:
        (attempt,) = send_all(course, now)
        course.failed(attempt, ServerUnavailable("away"), now)
        now += course.wait_s(now)
    assert attempt.attempt.number > 10
    (attempt,) = send_all(course, now)
    with pytest.raises(ServerUnavailable, match="away"):
        course.failed(attempt, ServerUnavailable("away"), 99.9)


def test_rows_that_wait_for_a_server_when_the_time_is_over_say_what_it_said() -> None:
    course = make_course(deadline=5)
    (attempt, *_) = send_all(course, 0)
    course.failed(attempt, ServerUnavailable("away"), 3)
    with pytest.raises(ServerUnavailable, match=r"away \(0 of 4 sentences were embedded\)"):
        course.next(5)


def test_overload_halves_the_window_and_unavailability_does_not() -> None:
    course = make_course(requests=20, limit=8)
    attempts = list(send_all(course, 0))
    course.failed(attempts[0], ServerUnavailable("away"), 0)
    assert course.window.limit == 8
    course.failed(attempts[1], Overloaded("full"), 0)
    assert course.window.limit == 4


def simulate(window: Window, capacity: int, rounds: int = 300) -> None:
    """A server that takes 1 s for `capacity` concurrent requests, and proportionally longer for more."""
    now = 0.0
    for _ in range(rounds):
        now += max(1.0, window.limit / capacity) / window.limit
        window.answered(100, now)


def test_the_window_opens_while_that_raises_the_rate_and_no_further() -> None:
    window = Window(limit=2, most=64)
    simulate(window, capacity=8)
    assert 6 <= window.limit <= 12


def test_the_window_never_opens_beyond_the_most() -> None:
    window = Window(limit=2, most=4)
    simulate(window, capacity=64)
    assert window.limit == 4


def test_the_next_call_begins_with_what_the_last_one_learned() -> None:
    window = Window(limit=2, most=64)
    simulate(window, capacity=8)
    following = window.anew()
    assert (following.limit, following.most, following.best_rate) == (window.limit, 64, window.best_rate)
    # With an unchanged server, every call measures it, and none raises the limit.
    for _ in range(50):
        following = following.anew()
        simulate(following, capacity=8, rounds=3 * following.limit)
    assert following.limit <= 12


def test_the_wait_grows_to_its_most_and_is_never_nothing() -> None:
    backoff = Backoff(first_s=0.1, most_s=3.0)
    for attempt in range(1, 30):
        ceiling = min(3.0, 0.1 * 2 ** (attempt - 1))
        assert all(0.2 * ceiling <= backoff.delay_s(attempt) <= ceiling for _ in range(20))


def test_answers_pay_for_retries() -> None:
    budget = RetryBudget(capacity=1, per_answer=0.5, tokens=1)
    assert budget.take()
    assert not budget.take()
    budget.answered()
    budget.answered()
    assert budget.take()


def test_the_least_busy_server_is_chosen_and_a_resting_one_is_left_alone() -> None:
    first, second = Endpoint("a", None), Endpoint("b", None)
    endpoints = Endpoints([first, second])
    first.begin("request", 0)
    assert endpoints.choose(0) is second
    second.rest(now=0)
    assert endpoints.choose(0.5) is first
    first.rest(now=0.2)
    assert endpoints.choose(0.5) is second, "all rest: the one that has rested longest"
    first.end("request")
    assert {endpoints.choose(10).address for _ in range(4)} == {"a", "b"}, "both awake again"


def test_a_call_that_is_answered_goes_on_and_one_that_is_not_ends() -> None:
    course = make_course(requests=8, deadline=None, stall=10)
    course.window = Window(limit=1, most=1)
    now = 0.0
    for _ in range(7):
        (sending,) = send_all(course, now)
        assert sending.until == now + 10
        now += 9
        course.answered(sending, now)
    (_,) = send_all(course, now)
    for _ in range(10):
        course.next(now)
        assert course.wait_s(now) > 0
        now += 1
    with pytest.raises(DeadlineExceeded, match=r"a answered no request for 10 s.*\(7 of 8 sentences were embedded\)$"):
        course.next(now)


def test_a_call_that_slept_itself_does_not_blame_the_server() -> None:
    course = make_course(deadline=None, stall=10)
    list(send_all(course, 0))
    assert course.next(100) is None
    assert course.wait_s(100) == pytest.approx(9)


def test_a_request_whose_time_was_short_is_sent_again_if_the_call_has_more() -> None:
    course = make_course(requests=2, deadline=None, stall=10)
    first, second = send_all(course, 0)
    course.answered(first, 9)
    assert course.next(9.5) is None
    course.failed(second, DeadlineExceeded("late"), 10)
    assert list(send_all(course, 10)) == []
    (again,) = send_all(course, 11)
    assert again.attempt.number == 2
    assert again.until == 19
    with pytest.raises(DeadlineExceeded, match="answered no request for 10 s"):
        course.failed(again, DeadlineExceeded("late"), 19)


def test_a_silent_server_s_request_goes_to_another_as_well_and_the_first_answer_counts() -> None:
    course = make_course(requests=1, servers="ab")
    (first,) = send_all(course, 0)
    cancelled: list[str] = []
    first.cancel = lambda: cancelled.append("first")
    assert list(send_all(course, 1.9)) == []
    assert course.wait_s(1.9) == pytest.approx(0.1)
    (second,) = send_all(course, 2)
    assert {first.endpoint.address, second.endpoint.address} == {"a", "b"}
    assert second.attempt is first.attempt
    assert list(send_all(course, 9)) == [], "once for each request"
    course.answered(second, 9)
    assert course.done
    assert cancelled == ["first"]
    assert not course.awaits(first)
    assert first.endpoint.resting_until > 9


@pytest.mark.parametrize("error", [ServerUnavailable("away"), Overloaded("full")])
def test_one_of_two_servers_that_fails_leaves_it_to_the_other(error: SentritonError) -> None:
    course = make_course(requests=1, servers="ab")
    (first,) = send_all(course, 0)
    (second,) = send_all(course, 2)
    course.failed(second, error, 2.5)
    assert list(send_all(course, 3)) == []
    course.answered(first, 3)
    assert course.done


def test_a_second_request_is_paid_from_the_budget() -> None:
    course = make_course(requests=4, limit=4, budget=1, servers="abcde")
    assert len(list(send_all(course, 0))) == 4
    assert len(list(send_all(course, 2))) == 1
    assert list(send_all(course, 4)) == []
    assert course.wait_s(4) > 0


def test_servers_that_are_all_late_are_not_asked_twice() -> None:
    course = make_course(requests=4, limit=4, servers="ab")
    sent = list(send_all(course, 0))
    assert list(send_all(course, 2.5)) == []
    course.answered(sent[0], 3)
    assert course._endpoints.patience_s == 12


def test_a_silent_server_rests_longer_each_time_and_gets_one_request_at_a_time() -> None:
    silent, other = Endpoint("a", None), Endpoint("b", None)
    endpoints = Endpoints([silent, other])
    rests = []
    for now in range(0, 400, 50):
        silent.fell_silent(now)
        silent.fell_silent(now)  # for each request that another server answered
        rests.append(silent.resting_until - now)
        assert all(endpoints.choose(now + 0.5) is other for _ in range(4))
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    other.begin("busy", 450)
    assert endpoints.choose(450) is silent
    silent.begin("probe", 450)
    assert all(endpoints.choose(451) is other for _ in range(4))
    silent.end("probe")
    silent.answered(451)
    assert endpoints.choose(451) is silent


def test_idle_servers_take_turns() -> None:
    endpoints = Endpoints([Endpoint("a", None), Endpoint("b", None)])
    assert {endpoints.choose(0).address for _ in range(2)} == {"a", "b"}
