#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "dispatch.hpp"
#include "member.hpp"
#include "pacing.hpp"

namespace sentriton {

/// A request that embeds the rows of several members. It is the gate of its own course, which has one attempt.
class JoinedRequest : public Dispatcher, private Gate {
public:
    JoinedRequest(Core& core, std::vector<std::shared_ptr<Member>> members);

    /// Sends the request until it has an answer or a final error, or no member is left.
    void run();
    /// The request has a place for its retry.
    void admitted();
    /// A member left.
    void left();
    /// The error after which the request waits for a retry.
    const std::optional<Failure>& waits_after() const { return waits_after_; }

    inference::ModelInferRequest request(const RequestRows& rows, Duration left) override;
    std::optional<Failure> collect(const RequestRows& rows, const std::string& address,
                                   const inference::ModelInferResponse& response) override;
    void done(const std::optional<Failure>& failure) override;
    void closed() override { stop(); }

private:
    bool enter(std::size_t in_flight) override;
    void leave() override;
    void waits(const Failure& failure) override { waits_after_ = failure; }
    void answered(std::size_t characters, Time now) override;
    void overloaded() override;

    void gather();
    std::vector<std::shared_ptr<Member>> present() const;
    void fail(const Failure& failure);
    void forget();

    Core& core_;
    std::vector<std::shared_ptr<Member>> members_;
    std::vector<std::shared_ptr<Member>> sent_;  // whose rows the attempt has
    std::shared_ptr<RequestRows> rows_ = std::make_shared<RequestRows>();
    bool inside_ = true;   // it has a place among those in flight
    bool queued_ = false;  // it waits for a place
    std::optional<Failure> waits_after_;
    Course course_;
};

}  // namespace sentriton
