#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "clock.hpp"
#include "deadline.hpp"
#include "endpoints.hpp"
#include "failure.hpp"
#include "pacing.hpp"
#include "requests.hpp"

namespace sentriton {

struct Sending;

/// The number-th try to embed some rows, at one server, or at two if the first one is silent.
struct Attempt {
    std::shared_ptr<RequestRows> rows;
    int number = 1;
    std::vector<std::shared_ptr<Sending>> sendings;
    Time awaited_since{};
    Time due{};  // if it waits for a retry
};

/// An attempt's request to one server, with the deadline `until`.
struct Sending {
    std::shared_ptr<Attempt> attempt;
    Endpoint* endpoint;
    Time sent;
    Time until;
    std::shared_ptr<Operation> operation;  // set by the dispatcher
};

/// Determines the next request, the retries and the end of one call. It uses no network and no clock.
class Course {
public:
    Course(std::shared_ptr<Deadline> deadline, Gate& gate, RetryBudget& budget, Endpoints& endpoints)
        : deadline_(std::move(deadline)), gate_(gate), budget_(budget), endpoints_(endpoints) {}

    /// Sets the number of rows.
    void set_total(std::size_t total) { total_ = total; }
    /// Provides the rows of the requests, one after the other until null.
    void follow(std::function<std::shared_ptr<RequestRows>()> next_rows) { next_rows_ = std::move(next_rows); }

    /// The next step of the call.
    struct Step {
        std::shared_ptr<Sending> sending;  // send it; null: nothing to send
        std::optional<Failure> failure;    // the call has to end
    };
    /// The request to send now, and its server; none if the gate is closed or no rows are left. At the deadline, the
    /// error is the last one of the rows that wait for a retry, or DeadlineExceeded.
    Step next(Time now);
    /// Whether the outcome of a request still matters: no other server has answered first.
    static bool awaits(const std::shared_ptr<Sending>& sending);
    /// Records that the rows of a request are embedded, and cancels another request for them.
    void answered(const std::shared_ptr<Sending>& sending, Time now);
    /// Schedules a retry of a request's rows, unless another server still has them. The result is the error of the call
    /// if a retry cannot help, or no time or no budget is left for it.
    std::optional<Failure> failed(const std::shared_ptr<Sending>& sending, const Failure& failure, Time now);
    /// The time of another call of `next` if no outcome comes before.
    Time wait(Time now) const;
    /// Cancels the requests in flight.
    void cancel();

    std::size_t finished() const { return finished_; }
    std::size_t total() const { return total_; }
    Deadline& deadline() { return *deadline_; }

private:
    bool prepare();
    std::shared_ptr<Sending> send(const std::shared_ptr<Attempt>& leaving, Endpoint& to, Time now);
    std::shared_ptr<Sending> hedge(Time now);
    void ended(const std::shared_ptr<Attempt>& one);
    std::optional<Failure> retry(const std::shared_ptr<Attempt>& one, const Failure& failure, Time now);
    Failure exceeded() const { return deadline_->exceeded(endpoints_.url()); }

    std::size_t total_ = 0;
    std::size_t finished_ = 0;
    std::shared_ptr<Deadline> deadline_;
    Gate& gate_;
    RetryBudget& budget_;
    Endpoints& endpoints_;
    std::function<std::shared_ptr<RequestRows>()> next_rows_;
    std::shared_ptr<RequestRows> prepared_;
    std::vector<std::shared_ptr<Attempt>> waiting_;    // for a retry, by due
    std::optional<Failure> last_failure_;              // of the waiting ones
    std::vector<std::shared_ptr<Attempt>> in_flight_;  // in the order of sending
};

}  // namespace sentriton
