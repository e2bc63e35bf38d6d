#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "call.hpp"
#include "loop.hpp"

namespace sentriton {

class JoinedRequest;

/// A small call that shares a request with others.
class Member : public Sleeper {
public:
    Member(Core& core, std::shared_ptr<Call> of) : call(std::move(of)), core_(core) {}

    /// Watches the call's time.
    void woken(Time now) override;
    void closed() override;
    /// Ends the call with its result or a failure, unless it has one.
    void take(const std::optional<Failure>& failure);
    /// Takes the member's rows from the beginning of `raw`.
    std::optional<Failure> answered(std::string_view raw);
    std::size_t rows() const { return call->texts.views.size(); }

    std::shared_ptr<Call> call;
    std::string texts;  // the elements of a BYTES tensor, with the call's prompt
    std::size_t characters = 0;
    std::size_t tokens = 0;
    std::size_t bytes = 0;
    JoinedRequest* request = nullptr;  // null: it waits for one
    bool over = false;                 // it has its result, or left
    bool alone = false;                // it needs a separate request, since it may have caused a failure

private:
    Core& core_;
};

/// Null if the call needs separate requests, because its sentences are many, fill a batch or exceed the limits of one
/// request.
std::shared_ptr<Member> make_member(Core& core, const std::shared_ptr<Call>& call);

/// The members of one request, and their sums.
class Crowd {
public:
    /// Adds a member if model and batch size are the same and the limits of a request hold. The remaining times differ
    /// at most by a factor of two. A member that needs a separate request does not fit.
    bool add(const std::shared_ptr<Member>& one, Time now);
    const std::vector<std::shared_ptr<Member>>& members() const { return members_; }

private:
    std::vector<std::shared_ptr<Member>> members_;
    std::size_t rows_ = 0;
    std::size_t tokens_ = 0;
    std::size_t bytes_ = 0;
    Duration shortest_{};  // of their remaining times
    Duration longest_{};
};

}  // namespace sentriton
