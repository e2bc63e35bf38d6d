#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "loop.hpp"
#include "member.hpp"
#include "pacing.hpp"

namespace sentriton {

/// Joins small calls that wait at the same time. While fewer joined requests than its limit are in flight, a call
/// leaves at once, with all ready calls. Otherwise it waits in the order of arrival, and leaves with others when a
/// request ends.
class Joiner : public Sleeper {
public:
    explicit Joiner(Core& core);

    /// Embeds the member's rows in a joined request.
    void run(const std::shared_ptr<Member>& one);
    /// Removes a member that timed out. The result is the error of its request if that waits for a retry. Without
    /// members, the request ends.
    std::optional<Failure> leave(Member& one);

    /// Lets waiters leave while fewer requests than the limit are in flight.
    void woken(Time now) override;
    void closed() override {}

    // For its requests.

    /// A request waits for a place for its retry.
    void wait(JoinedRequest& request);
    /// A request waits no longer.
    void forget(const JoinedRequest& request);
    /// Lets the members of a failed request wait for separate requests, before all others, since any may be the cause.
    void wait_alone(const std::vector<std::shared_ptr<Member>>& members);
    /// Gives the place of an ended request to the next waiter.
    void release();
    /// Lets waiters leave with the next turn of the loop.
    void look();

    Window& window() { return window_; }
    int in_flight() const { return in_flight_; }
    std::size_t waiting() const { return queue_.size(); }

private:
    /// Either a new member or a request whose retry is due.
    struct Waiter {
        std::shared_ptr<Member> member;
        std::shared_ptr<JoinedRequest> request;
    };

    std::vector<std::shared_ptr<Member>> gather(Time now);

    Core& core_;
    Window window_;  // the limit of requests in flight
    int in_flight_ = 0;
    std::deque<Waiter> queue_;
};

}  // namespace sentriton
