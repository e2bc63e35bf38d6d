#include "endpoints.hpp"

#include <algorithm>

namespace sentriton {

namespace {

constexpr Duration rest_time = 1s;      // an unavailable server gets no requests for this long
constexpr Duration longest_rest = 30s;  // for a silent server, since each probe delays a request by the patience
constexpr int patience_factor = 4;      // times the slowest recent answer
constexpr double fading = 0.95;         // of the slowest answer, per further answer

}  // namespace

Duration Endpoint::silence(Time now) const {
    return in_flight.empty() ? Duration{} : now - std::max(in_flight.front(), last_answer);
}

void Endpoint::fell_silent(Time now) {
    if (resting_until > now) {
        return;
    }
    const Duration pause = rest_time * (1 << std::min(silences, 10));
    ++silences;
    resting_until = now + std::min(longest_rest, pause);
}

void Endpoints::add(std::unique_ptr<Connection> connection) {
    all_.push_back(std::make_unique<Endpoint>());
    all_.back()->connection = std::move(connection);
}

Duration Endpoints::patience() const { return std::max<Duration>(least_patience, patience_factor * slowest_); }

void Endpoints::begin(Endpoint& to, Time sent) { to.in_flight.push_back(sent); }

void Endpoints::end(Endpoint& from, Time sent) {
    const auto found = std::find(from.in_flight.begin(), from.in_flight.end(), sent);
    if (found != from.in_flight.end()) {
        from.in_flight.erase(found);
    }
}

void Endpoints::answered(Endpoint& from, Duration took, Time now) {
    slowest_ = std::max(took, std::chrono::duration_cast<Duration>(slowest_ * fading));
    from.last_answer = now;
    from.silences = 0;
    from.resting_until = {};
}

void Endpoints::rest(Endpoint& one, Time now) { one.resting_until = std::max(one.resting_until, now + rest_time); }

void Endpoints::late(Endpoint& one, Time sent, Time now) const {
    if (now - std::max(sent, one.last_answer) >= patience()) {
        one.fell_silent(now);
    }
}

Endpoint& Endpoints::choose(Time now) {
    if (Endpoint* found = least_busy([&](const Endpoint& each) { return answers(each, now); })) {
        return *found;
    }
    return **std::min_element(all_.begin(), all_.end(),
                              [](const auto& a, const auto& b) { return a->resting_until < b->resting_until; });
}

Endpoint* Endpoints::another(const Endpoint& first, Time now) {
    return least_busy([&](const Endpoint& each) {
        return &each != &first && answers(each, now) && each.silence(now) < patience() / 2;
    });
}

/// Of the matching servers, in turn among equals; null if none matches.
Endpoint* Endpoints::least_busy(const std::function<bool(const Endpoint&)>& is_meant) {
    turn_ = (turn_ + 1) % all_.size();
    Endpoint* found = nullptr;
    for (std::size_t i = 0; i < all_.size(); ++i) {
        Endpoint& each = *all_[(turn_ + i) % all_.size()];
        if (is_meant(each) && (found == nullptr || each.in_flight.size() < found->in_flight.size())) {
            found = &each;
        }
    }
    return found;
}

bool Endpoints::answers(const Endpoint& one, Time now) const {
    const bool probed = one.silences > 0 && !one.in_flight.empty();
    return one.resting_until <= now && !probed && one.silence(now) < patience();
}

}  // namespace sentriton
