#pragma once

#include <optional>
#include <string>

#include "clock.hpp"
#include "failure.hpp"

namespace sentriton {

constexpr Duration look_every = 1s;
/// gRPC's timer and this clock differ by some milliseconds: so close to the end, the call is over.
constexpr Duration margin = 100ms;
/// With less time, no request is sent: one that is cancelled as it arrives can crash Triton 24.10 (issue 7368).
constexpr Duration least_time = 2ms;

/// When a call ends: `timeout` after its begin, or `stall_timeout` after its last answer.
class Deadline {
public:
    Deadline(std::optional<Duration> timeout, Duration stall_timeout, Time begin);

    /// When the call ends if nothing is answered until then.
    Time time() const;
    /// The end of the call's `timeout`; none if it is unset.
    std::optional<Time> end() const { return end_; }
    /// How long a request sent at `now` may take; 0 if that is too little for a request.
    Duration left(Time now) const;
    /// Notes that a request of the call was answered.
    void moved(Time now);
    /// Notes that the call runs. If it did not for long (a suspended process), the server was not silent meanwhile.
    void looked(Time now);
    /// Sets when the call ends if nothing is answered until then.
    void stall_at(Time then) { stalls_ = then; }
    /// Whether the call has to end.
    bool over(Time now) const { return left(now) == Duration{}; }
    /// Whether the call's `timeout` ends at or before `then`.
    bool ends_before(Time then) const { return end_ && then >= *end_; }
    /// The error of a call that has to end: its bound and the remedy.
    Failure exceeded(const std::string& url) const;

private:
    Duration timeout_;
    Duration stall_timeout_;
    std::optional<Time> end_;
    Time stalls_;
    Time last_look_;
};

}  // namespace sentriton
