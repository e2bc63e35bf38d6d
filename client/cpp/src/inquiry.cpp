#include "inquiry.hpp"

#include <algorithm>
#include <utility>

namespace sentriton {

Inquiry::Inquiry(const Endpoints& endpoints, Deadline deadline)
    : endpoints_(endpoints), deadline_(std::move(deadline)) {
    for (const auto& each : endpoints.all()) {
        turns_.push_back({each.get(), least_patience});
    }
}

std::optional<Inquiry::Turn> Inquiry::next(Time now) {
    if (turns_.empty()) {
        return std::nullopt;
    }
    const Duration left = deadline_.left(now);
    if (left == Duration{} || (until_ && deadline_.over(now + margin))) {
        failure_ = deadline_.exceeded(endpoints_.url());
        return std::nullopt;
    }
    const Duration allowed = turns_.size() > 1 ? std::min(turns_.front().allowed, left) : left;
    until_ = now + allowed;
    return Turn{turns_.front().endpoint, allowed};
}

void Inquiry::failed(const Failure& failure, Time now) {
    const Turn turn = turns_.front();
    turns_.pop_front();
    failure_ = failure;
    if (failure.kind == Kind::server_unavailable) {
        Endpoints::rest(*turn.endpoint, now);
    } else if (failure.kind == Kind::deadline_exceeded && now >= *until_ - margin) {
        turn.endpoint->fell_silent(now);
        turns_.push_back({turn.endpoint, 2 * turn.allowed});
    }
}

}  // namespace sentriton
