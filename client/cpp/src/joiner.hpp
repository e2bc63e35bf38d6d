#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "loop.hpp"
#include "member.hpp"
#include "pacing.hpp"

namespace sentriton {

/// Lets small calls that wait at the same time share requests. While fewer joined requests than its limit are in
/// flight, a call leaves at once, with all that are ready to. Else it waits in the order of arrival, and leaves with
/// others when a request ends.
class Joiner : public Sleeper {
public:
    explicit Joiner(Core& core);

    /// Embeds the member's rows in a request that others share.
    void run(const std::shared_ptr<Member>& one);
    /// Takes out a member whose time is over. The result is the error of its request if that waits for a retry. The
    /// last member's end is the request's.
    std::optional<Failure> leave(Member& one);

    /// Lets waiters leave while fewer requests than the limit are in flight.
    void woken(Time now) override;
    void closed() override {}

    // For its requests.

    /// A request waits for a place for its retry.
    void wait(JoinedRequest& request);
    /// A request waits no longer.
    void forget(const JoinedRequest& request);
    /// Lets members of a request that failed, of which any may be the cause, wait for requests of their own, before all
    /// others.
    void wait_alone(const std::vector<std::shared_ptr<Member>>& members);
    /// Gives the place of a request that ended to the next waiter.
    void release();
    /// Lets waiters leave with the next turn of the loop.
    void look();

    Window& window() { return window_; }
    int in_flight() const { return in_flight_; }
    std::size_t waiting() const { return queue_.size(); }

private:
    /// One of the two: a new member, or a request whose retry is due.
    struct Waiter {
        std::shared_ptr<Member> member;
        std::shared_ptr<JoinedRequest> request;
    };

    std::vector<std::shared_ptr<Member>> gather(Time now);

    Core& core_;
    Window window_;  // how many requests may be in flight
    int in_flight_ = 0;
    std::deque<Waiter> queue_;
};

}  // namespace sentriton
