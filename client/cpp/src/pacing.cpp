#include "pacing.hpp"

#include <random>

namespace sentriton {

Window Window::next() const {
    Window begin(most_, limit_);
    begin.best_rate_ = best_rate_;
    return begin;
}

void Window::answered(std::size_t characters, Time now) {
    if (!since_) {
        since_ = now;
        return;
    }
    characters_ += characters;
    ++answers_;
    if (answers_ < limit_ || now <= *since_) {
        return;
    }
    const double rate = static_cast<double>(characters_) / Seconds(now - *since_).count();
    // After an overload it grows by one per round, at any rate.
    if (rate > 1.05 * best_rate_ || limit_ < least_in_flight) {
        limit_ = std::min(limit_ + 1, most_);
    }
    // The best rate fades, in case the server becomes slower.
    best_rate_ = std::max(rate, 0.98 * best_rate_);
    restart(now);
}

void Window::overloaded() {
    limit_ = std::max(1, limit_ / 2);
    restart(std::nullopt);
}

void Window::restart(std::optional<Time> since) {
    characters_ = 0;
    answers_ = 0;
    since_ = since;
}

Duration retry_pause(int attempt, double random) {
    const Duration ceiling = std::min<Duration>(3s, first_pause * (1 << std::min(attempt - 1, 16)));
    return std::chrono::duration_cast<Duration>(ceiling * (0.2 + 0.8 * random));
}

double jitter() {
    thread_local std::mt19937 generator{std::random_device{}()};
    return std::uniform_real_distribution<double>(0, 1)(generator);
}

bool RetryBudget::take() {
    if (tokens_ < 1) {
        return false;
    }
    tokens_ -= 1;
    return true;
}

}  // namespace sentriton
