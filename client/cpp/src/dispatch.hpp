#pragma once

#include <memory>
#include <optional>

#include "connection.hpp"
#include "course.hpp"
#include "loop.hpp"

namespace sentriton {

/// Sends the requests of one course within the limit of its gate, until every sentence is embedded. At the first
/// failure it cancels the requests in flight.
class Dispatcher : public Sleeper {
public:
    explicit Dispatcher(Loop& loop) : loop_(loop) {}

    /// Sends the requests that may leave now.
    void woken(Time now) override;

    virtual inference::ModelInferRequest request(const RequestRows& rows, Duration left) = 0;
    /// Takes or rejects the answer to a request.
    virtual std::optional<Failure> collect(const RequestRows& rows, const std::string& address,
                                           const inference::ModelInferResponse& response) = 0;
    /// All sentences are embedded, or the call failed.
    virtual void done(const std::optional<Failure>& failure) = 0;

protected:
    /// Starts at the next turn of the loop.
    void begin(Course& course);
    /// Looks again at the next turn of the loop.
    void look();
    /// Ends without an outcome.
    void stop();

private:
    void send(const std::shared_ptr<Sending>& sending);
    void settle(const std::shared_ptr<Sending>& sending, Answer answer);
    void end(const std::optional<Failure>& failure);

    Loop& loop_;
    Course* course_ = nullptr;
    bool over_ = false;
};

}  // namespace sentriton
