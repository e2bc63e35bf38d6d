#pragma once

#include <optional>
#include <string>

#include "clock.hpp"
#include "failure.hpp"

namespace sentriton {

constexpr Duration look_every = 1s;
/// gRPC's timer and this clock differ by some milliseconds. A call this close to its end is over.
constexpr Duration margin = 100ms;
/// With less time, no request is sent: a cancellation at its answer can crash Triton 24.10 (issue 7368).
constexpr Duration least_time = 2ms;

/// The end of a call: `timeout` after its start, or `stall_timeout` after its last answer.
class Deadline {
public:
    Deadline(std::optional<Duration> timeout, Duration stall_timeout, Time begin);

    /// The end of the call if no answer comes.
    Time time() const;
    /// The end of the call's `timeout`; none if it is unset.
    std::optional<Time> end() const { return end_; }
    /// The time for a request sent at `now`, or 0 if it is too little for a request.
    Duration left(Time now) const;
    /// Records an answer to a request of the call.
    void moved(Time now);
    /// Records that the call runs. Time in which it did not run (a suspended process) does not count as a stall.
    void looked(Time now);
    /// Sets the end of the call if no answer comes.
    void stall_at(Time then) { stalls_ = then; }
    /// Whether the call has timed out.
    bool over(Time now) const { return left(now) == Duration{}; }
    /// Whether the call's `timeout` ends at or before `then`.
    bool ends_before(Time then) const { return end_ && then >= *end_; }
    /// The error of a call that timed out, with its bound and the remedy.
    Failure exceeded(const std::string& url) const;

private:
    Duration timeout_;
    Duration stall_timeout_;
    std::optional<Time> end_;
    Time stalls_;
    Time last_look_;
};

}  // namespace sentriton
