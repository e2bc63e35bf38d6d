#include "course.hpp"

#include "checks.hpp"

namespace sentriton {

// A course has no clock of its own: these are times of the test's own.
void ends_in_time(const std::shared_ptr<Deadline>& deadline, Kind kind, Time begin) {
    Window window(1);
    RetryBudget budget;
    Endpoints endpoints("host:1");
    endpoints.add(nullptr);  // nothing is sent
    Course course(deadline, window, budget, endpoints);
    course.set_total(1);
    course.follow([rows = std::make_shared<RequestRows>()]() mutable { return std::exchange(rows, nullptr); });
    const Failure refusal{kind, "no"};
    Duration longest = first_pause;
    Time now = begin;
    int requests = 1;
    const auto fail_next = [&] {
        const auto [sending, failure] = course.next(now);
        EXPECT_NE(sending, nullptr);
        return course.failed(sending, refusal, now);
    };
    std::optional<Failure> failure = fail_next();
    for (; !failure; ++requests) {
        const Time until = course.wait(now);
        ASSERT_LE(until - now, longest);
        ASSERT_LT(until, begin + 1s);
        now = until;
        longest *= 2;
        failure = fail_next();
    }
    EXPECT_EQ(failure->kind, kind);
    EXPECT_EQ(failure->message, "no");
    EXPECT_GE(now + longest, begin + 1s - least_time);
    EXPECT_GE(requests, 4);  // after 0.1, 0.3 and 0.7 s at the latest
}

TEST(Course, EndsBeforeAPauseThatIsTooLong) {
    const Time begin = Clock::now();
    for (int i = 0; i < 20; ++i) {  // pauses are random
        ends_in_time(std::make_shared<Deadline>(1s, 1min, begin), Kind::server_unavailable, begin);
        ends_in_time(std::make_shared<Deadline>(std::nullopt, 1s, begin), Kind::overloaded, begin);
    }
}

}  // namespace sentriton
