#include "joiner.hpp"

#include <algorithm>
#include <iterator>

#include "core.hpp"
#include "joined.hpp"

namespace sentriton {

namespace {

constexpr int joined_per_address = 4;

/// Four for each address. A dns:/// address may stand for many servers.
int most_joined_requests(const CheckedSettings& settings) {
    const auto& all = settings.addresses;
    if (std::any_of(all.begin(), all.end(), [](const auto& each) { return each.rfind("dns:", 0) == 0; })) {
        return settings.max_in_flight;
    }
    return std::min(joined_per_address * static_cast<int>(all.size()), settings.max_in_flight);
}

}  // namespace

Joiner::Joiner(Core& core)
    : core_(core), window_(most_joined_requests(core.settings), most_joined_requests(core.settings)) {}

void Joiner::run(const std::shared_ptr<Member>& one) {
    queue_.push_back({one, nullptr});
    core_.loop.wake(*one, std::min(one->call->deadline->time(), Clock::now() + look_every));
    look();
}

std::optional<Failure> Joiner::leave(Member& one) {
    one.over = true;
    if (one.request == nullptr) {
        queue_.erase(
            std::find_if(queue_.begin(), queue_.end(), [&](const auto& each) { return each.member.get() == &one; }));
        return std::nullopt;
    }
    const std::optional<Failure> last = one.request->waits_after();
    one.request->left();
    return last;
}

void Joiner::wait(JoinedRequest& request) {
    queue_.push_back({nullptr, std::static_pointer_cast<JoinedRequest>(request.shared_from_this())});
    look();
}

void Joiner::forget(const JoinedRequest& request) {
    const auto is_it = [&](const auto& each) { return each.request.get() == &request; };
    queue_.erase(std::remove_if(queue_.begin(), queue_.end(), is_it), queue_.end());
}

void Joiner::wait_alone(const std::vector<std::shared_ptr<Member>>& members) {
    for (auto each = members.rbegin(); each != members.rend(); ++each) {
        (*each)->alone = true;
        (*each)->request = nullptr;
        queue_.push_front({*each, nullptr});
    }
}

void Joiner::release() {
    --in_flight_;
    look();
}

void Joiner::look() { core_.loop.wake(*this, Clock::now()); }

void Joiner::woken(Time now) {
    while (in_flight_ < window_.limit() && !queue_.empty()) {
        ++in_flight_;
        if (const auto request = queue_.front().request) {
            queue_.pop_front();
            request->admitted();
        } else {
            std::make_shared<JoinedRequest>(core_, gather(now))->run();
        }
    }
}

/// Removes the first member, and all that may share its request, from the queue.
std::vector<std::shared_ptr<Member>> Joiner::gather(Time now) {
    Crowd together;
    std::deque<Waiter> stay;
    for (auto& each : queue_) {
        if (!each.member || !together.add(each.member, now)) {
            stay.push_back(std::move(each));
        }
    }
    queue_ = std::move(stay);
    return together.members();
}

}  // namespace sentriton
