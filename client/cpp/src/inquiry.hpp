#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "deadline.hpp"
#include "endpoints.hpp"
#include "failure.hpp"

namespace sentriton {

/// The search for a server that hands out its manifest. Each of several has little time at first, and a silent one has
/// more in its next turn. A server that failed in another way, or that said before its time was over that it was late,
/// has no further turn.
class Inquiry {
public:
    Inquiry(const Endpoints& endpoints, Deadline deadline);

    struct Turn {
        Endpoint* endpoint;
        Duration allowed;  // the time to answer
    };
    /// The next server; none if all failed or the time is over.
    std::optional<Turn> next(Time now);
    /// Notes the error of the last turn.
    void failed(const Failure& failure, Time now);
    /// Why the search ended.
    const Failure& failure() const { return *failure_; }

private:
    const Endpoints& endpoints_;
    Deadline deadline_;
    std::deque<Turn> turns_;
    std::optional<Time> until_;  // of the last turn
    std::optional<Failure> failure_;
};

}  // namespace sentriton
