#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "failure.hpp"
#include "golden.hpp"
#include "loop.hpp"
#include "requests.hpp"
#include "sentriton/manifest.hpp"

namespace sentriton {

class Core;

/// Embeds the golden sentences of the first server, and compares the vectors with those that sentence-transformers
/// made.
class Canary : public Sleeper {
public:
    using Done = std::function<void(Result<HealthReport>)>;

    Canary(Core& core, Time end, Done done) : core_(core), end_(end), done_(std::move(done)) {}

    void run();
    /// gRPC ends each step in time.
    void woken(Time) override {}
    void closed() override { finish(closed_failure()); }

private:
    void read_vectors();
    void embed();
    void compare(const Matrix& found);
    void finish(Result<HealthReport> result);
    Duration left() const;

    Core& core_;
    Time end_;
    Done done_;
    std::shared_ptr<const Manifest> manifest_;
    Golden golden_;
    Texts texts_;
};

}  // namespace sentriton
