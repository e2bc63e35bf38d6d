#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "deadline.hpp"
#include "endpoints.hpp"
#include "failure.hpp"

namespace sentriton {

/// Asks the servers in turn for the manifest. Each has little time at first, and a silent server has more in its next
/// turn. A server that failed in another way, or reported a timeout before its deadline, has no further turn.
class Inquiry {
public:
    Inquiry(const Endpoints& endpoints, Deadline deadline);

    struct Turn {
        Endpoint* endpoint;
        Duration allowed;  // the time to answer
    };
    /// The next server; none if all failed or the deadline has passed.
    std::optional<Turn> next(Time now);
    /// Records the error of the last turn.
    void failed(const Failure& failure, Time now);
    /// The error of the search.
    const Failure& failure() const { return *failure_; }

private:
    const Endpoints& endpoints_;
    Deadline deadline_;
    std::deque<Turn> turns_;
    std::optional<Time> until_;  // of the last turn
    std::optional<Failure> failure_;
};

}  // namespace sentriton
