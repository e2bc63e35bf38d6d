#include "joined.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core.hpp"
#include "inference/inference.pb.h"
#include "joiner.hpp"
#include "protocol.hpp"

namespace sentriton {

JoinedRequest::JoinedRequest(Core& core, std::vector<std::shared_ptr<Member>> members)
    : Dispatcher(core.loop),
      core_(core),
      members_(std::move(members)),
      course_(std::make_shared<Deadline>(std::nullopt, Duration{}, Clock::now()), *this, core.budget, core.endpoints) {
    for (const auto& each : members_) {
        each->request = this;
    }
    gather();
    course_.follow([rows = rows_]() mutable { return std::exchange(rows, nullptr); });
}

void JoinedRequest::run() { begin(course_); }

void JoinedRequest::admitted() {
    inside_ = true;
    queued_ = false;
    look();
}

void JoinedRequest::left() {
    if (present().empty()) {
        const auto alive = shared_from_this();
        stop();
        forget();
    }
}

/// Collects the rows of the present members, and their longest remaining time.
void JoinedRequest::gather() {
    sent_ = present();
    *rows_ = RequestRows();
    Time longest{};
    std::size_t rows = 0;
    for (const auto& each : sent_) {
        rows += each->rows();
        rows_->texts += each->texts;
        rows_->characters += each->characters;
        longest = std::max(longest, each->call->deadline->time());
    }
    rows_->indices.resize(rows);
    std::iota(rows_->indices.begin(), rows_->indices.end(), std::size_t{0});
    course_.deadline().stall_at(longest);
    course_.set_total(rows);
}

std::vector<std::shared_ptr<Member>> JoinedRequest::present() const {
    std::vector<std::shared_ptr<Member>> found;
    std::copy_if(members_.begin(), members_.end(), std::back_inserter(found),
                 [](const auto& each) { return !each->over; });
    return found;
}

inference::ModelInferRequest JoinedRequest::request(const RequestRows& rows, Duration left) {
    const auto& fingerprint = sent_.front()->call->manifest->fingerprint;
    return text_request(rows.texts, rows.indices.size(), {fingerprint, core_.settings.priority, left});
}

std::optional<Failure> JoinedRequest::collect(const RequestRows& rows, const std::string& address,
                                              const inference::ModelInferResponse& response) {
    const std::size_t dimension = sent_.front()->call->dimension();
    auto found = read_embeddings(response, rows.indices.size(), dimension);
    if (auto* failure = std::get_if<Failure>(&found)) {
        return *failure;
    }
    auto raw = std::get<std::string_view>(found);
    for (const auto& each : sent_) {
        if (!each->over) {
            const auto failure = each->answered(raw);
            each->take(failure ? std::optional(failure->of_wrong_answer(address)) : failure);
        }
        raw.remove_prefix(each->rows() * 4 * dimension);
    }
    return std::nullopt;
}

void JoinedRequest::done(const std::optional<Failure>& failure) {
    if (failure) {
        fail(*failure);
    }
    forget();
}

/// Gives each member a separate error. One member may be the cause of an invalid input or of a server's error. Then
/// each waits for a separate request.
void JoinedRequest::fail(const Failure& failure) {
    const bool of_server = failure.status != nullptr;  // a wrong answer has none
    const bool of_one = of_server && (failure.kind == Kind::invalid_input || failure.kind == Kind::server_error);
    const bool late = !of_server && failure.kind == Kind::deadline_exceeded;
    if (of_one && sent_.size() > 1) {
        core_.joiner->wait_alone(present());
        return;
    }
    for (const auto& each : members_) {
        each->take(late ? each->call->deadline->exceeded(core_.endpoints.url()) : failure);
    }
}

/// Releases its place, or stops waiting for one.
void JoinedRequest::forget() {
    core_.joiner->forget(*this);
    if (std::exchange(inside_, false)) {
        core_.joiner->release();
    }
}

bool JoinedRequest::enter(std::size_t in_flight) {
    if (!inside_ && !queued_) {
        queued_ = true;
        core_.joiner->wait(*this);
    }
    if (!inside_ || in_flight > 0) {
        return false;
    }
    if (std::exchange(waits_after_, std::nullopt)) {
        gather();
    }
    return !sent_.empty();
}

void JoinedRequest::leave() {
    inside_ = false;
    core_.joiner->release();
}

void JoinedRequest::answered(std::size_t characters, Time now) {
    core_.joiner->window().answered(characters, now);
    core_.joiner->look();
}

void JoinedRequest::overloaded() { core_.joiner->window().overloaded(); }

}  // namespace sentriton
