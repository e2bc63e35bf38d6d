#include "deadline.hpp"

#include <algorithm>

namespace sentriton {

namespace {

// Bounded, since gRPC and Triton use integers.
constexpr Duration longest_request = 24h;

}  // namespace

Deadline::Deadline(std::optional<Duration> timeout, Duration stall_timeout, Time begin)
    : timeout_(timeout.value_or(0s)), stall_timeout_(stall_timeout), stalls_(begin + stall_timeout), last_look_(begin) {
    if (timeout) {
        end_ = begin + *timeout;
    }
}

Time Deadline::time() const { return end_ ? std::min(*end_, stalls_) : stalls_; }

Duration Deadline::left(Time now) const {
    const Duration left = time() - now;
    return left < least_time ? Duration{} : std::min<Duration>(left, longest_request);
}

void Deadline::moved(Time now) {
    stalls_ = now + stall_timeout_;
    last_look_ = now;
}

void Deadline::looked(Time now) {
    stalls_ += std::max<Duration>(0s, now - last_look_ - look_every);
    last_look_ = now;
}

Failure Deadline::exceeded(const std::string& url) const {
    if (!end_ || stalls_ < *end_) {
        return {Kind::deadline_exceeded, url + " answered no request for " + shown(stall_timeout_) +
                                             "; check the server (`sentriton health`), or set a longer stall_timeout"};
    }
    return {Kind::deadline_exceeded,
            "the call took longer than its timeout of " + shown(timeout_) + "; set a longer timeout, or none"};
}

}  // namespace sentriton
