#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>

#include "clock.hpp"
#include "failure.hpp"

namespace sentriton {

constexpr int least_in_flight = 4;  // one computed, one queued, and two in transfer

/// Decides the limit of requests in flight.
class Gate {
public:
    virtual ~Gate() = default;
    /// Whether an attempt may leave while `in_flight` others of its course are in flight.
    virtual bool enter(std::size_t in_flight) = 0;
    /// Records that an attempt of the course ended.
    virtual void leave() {}
    /// Records that an attempt waits for a retry after this error.
    virtual void waits(const Failure&) {}
    virtual void answered(std::size_t characters, Time now) = 0;
    virtual void overloaded() = 0;
};

/// The limit of a call's requests in flight. It grows while this raises the rate, and halves when the server is
/// overloaded. It compares the rate (characters per second) of each round, as many answers as the limit, with the best
/// one. The next call begins with `next`.
class Window : public Gate {
public:
    explicit Window(int most) : Window(most, std::min(least_in_flight, most)) {}
    Window(int most, int limit) : most_(most), limit_(limit) {}

    /// A window for the next call: it keeps the limit and the best rate.
    Window next() const;
    int limit() const { return limit_; }

    bool enter(std::size_t in_flight) override { return in_flight < static_cast<std::size_t>(limit_); }
    /// Counts an answer for sentences of this many characters.
    void answered(std::size_t characters, Time now) override;
    /// Halves the window.
    void overloaded() override;

private:
    void restart(std::optional<Time> since);

    int most_;
    int limit_;
    double best_rate_ = 0;
    std::size_t characters_ = 0;
    int answers_ = 0;
    std::optional<Time> since_;  // of the round; none: before the first answer
};

/// The pause after attempt number `attempt`, counted from 1: exponential, with jitter from `random` in [0, 1).
Duration retry_pause(int attempt, double random);
double jitter();

constexpr Duration first_pause = 100ms;
constexpr double retry_tokens = 100;

/// Bounds the retries at an overloaded server to a share of its answers, so that callers do not double its load.
/// Retries at an unavailable server are not bounded.
class RetryBudget {
public:
    /// Returns a fifth of a token.
    void answered() { tokens_ = std::min(retry_tokens, tokens_ + 0.2); }
    /// Takes a token for a retry; false if the budget is empty.
    bool take();
    double left() const { return tokens_; }

private:
    double tokens_ = retry_tokens;
};

}  // namespace sentriton
