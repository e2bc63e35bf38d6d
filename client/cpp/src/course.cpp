#include "course.hpp"

#include <algorithm>
#include <utility>

namespace sentriton {

namespace {

constexpr Duration look_again = 100ms;  // for a server that could get the request as well

/// Cancels a request in flight. It has no operation if its answer ended the call.
void cancel_sending(const Sending& sending) {
    if (sending.operation) {
        sending.operation->cancel();
    }
}

}  // namespace

Course::Step Course::next(Time now) {
    deadline_->looked(now);
    if (deadline_->over(now)) {
        return {nullptr, waiting_.empty() ? exceeded() : *last_failure_};
    }
    const bool retry = !waiting_.empty() && waiting_.front()->due <= now;
    if ((retry || prepare()) && gate_.enter(in_flight_.size())) {
        std::shared_ptr<Attempt> leaving;
        if (retry) {
            leaving = waiting_.front();
            waiting_.erase(waiting_.begin());
        } else {
            leaving = std::make_shared<Attempt>();
            leaving->rows = std::exchange(prepared_, nullptr);
        }
        in_flight_.push_back(leaving);
        return {send(leaving, endpoints_.choose(now), now), std::nullopt};
    }
    return {hedge(now), std::nullopt};
}

/// Makes the next rows ready; false if none are left.
bool Course::prepare() {
    if (!prepared_ && next_rows_) {
        prepared_ = next_rows_();
    }
    return prepared_ != nullptr;
}

bool Course::awaits(const std::shared_ptr<Sending>& sending) {
    const auto& all = sending->attempt->sendings;
    return std::find(all.begin(), all.end(), sending) != all.end();
}

void Course::answered(const std::shared_ptr<Sending>& sending, Time now) {
    const std::shared_ptr<Attempt> one = sending->attempt;
    for (const auto& other : one->sendings) {
        if (other != sending) {
            cancel_sending(*other);
            endpoints_.late(*other->endpoint, other->sent, now);
        }
    }
    ended(one);
    finished_ += one->rows->indices.size();
    deadline_->moved(now);
    gate_.answered(one->rows->characters, now);
    endpoints_.answered(*sending->endpoint, now - sending->sent, now);
    budget_.answered();
}

std::optional<Failure> Course::failed(const std::shared_ptr<Sending>& sending, const Failure& failure, Time now) {
    const std::shared_ptr<Attempt> one = sending->attempt;
    one->sendings.erase(std::find(one->sendings.begin(), one->sendings.end(), sending));
    // It was sent with little time left, and later answers have moved the call's deadline.
    const bool too_late = failure.kind == Kind::deadline_exceeded && now >= sending->until - margin;
    if (failure.kind == Kind::server_unavailable) {
        Endpoints::rest(*sending->endpoint, now);
    } else if (too_late) {
        endpoints_.late(*sending->endpoint, sending->sent, now);
    } else if (failure.kind == Kind::overloaded) {
        gate_.overloaded();
    } else {
        return failure;
    }
    if (!one->sendings.empty()) {
        one->awaited_since = now;
        return std::nullopt;
    }
    ended(one);
    if (too_late && deadline_->over(now + margin)) {
        return exceeded();
    }
    return retry(one, failure, now);
}

/// Schedules a retry of an attempt, if time and budget are left for it.
std::optional<Failure> Course::retry(const std::shared_ptr<Attempt>& one, const Failure& failure, Time now) {
    const Time due = now + retry_pause(one->number, jitter());
    const bool late = in_flight_.empty() ? deadline_->over(due) : deadline_->ends_before(due);
    if (late || (failure.kind != Kind::server_unavailable && !budget_.take())) {
        return failure;
    }
    last_failure_ = failure;
    gate_.waits(failure);
    ++one->number;
    one->due = due;
    const auto place = std::upper_bound(waiting_.begin(), waiting_.end(), due,
                                        [](Time then, const auto& each) { return then < each->due; });
    waiting_.insert(place, one);
    return std::nullopt;
}

Time Course::wait(Time now) const {
    Time until = std::min(deadline_->time(), now + look_every);
    // A due attempt that was not admitted waits for the gate.
    if (!waiting_.empty() && waiting_.front()->due > now) {
        until = std::min(until, waiting_.front()->due);
    }
    if (endpoints_.all().size() > 1) {
        for (const auto& each : in_flight_) {
            if (each->sendings.size() == 1) {
                until = std::min(until, std::max(each->awaited_since + endpoints_.patience(), now + look_again));
            }
        }
    }
    return std::max(until, now);
}

void Course::cancel() {
    for (const auto& each : std::exchange(in_flight_, {})) {
        for (const auto& sending : std::exchange(each->sendings, {})) {
            cancel_sending(*sending);
        }
    }
}

std::shared_ptr<Sending> Course::send(const std::shared_ptr<Attempt>& leaving, Endpoint& to, Time now) {
    auto sending = std::make_shared<Sending>(Sending{leaving, &to, now, now + deadline_->left(now), nullptr});
    leaving->sendings.push_back(sending);
    leaving->awaited_since = now;
    Endpoints::begin(to, now);
    return sending;
}

/// A second request for the rows of a silent server, to a server that answers.
std::shared_ptr<Sending> Course::hedge(Time now) {
    if (endpoints_.all().size() == 1) {
        return nullptr;
    }
    const Time late = now - endpoints_.patience();
    for (const auto& each : in_flight_) {
        if (each->sendings.size() == 1 && each->awaited_since <= late) {
            Endpoint* other = endpoints_.another(*each->sendings.front()->endpoint, now);
            if (other != nullptr && budget_.take()) {
                return send(each, *other, now);
            }
        }
    }
    return nullptr;
}

void Course::ended(const std::shared_ptr<Attempt>& one) {
    one->sendings.clear();
    in_flight_.erase(std::find(in_flight_.begin(), in_flight_.end(), one));
    gate_.leave();
}

}  // namespace sentriton
