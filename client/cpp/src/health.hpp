#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "connection.hpp"
#include "deadline.hpp"
#include "failure.hpp"
#include "golden.hpp"
#include "loop.hpp"
#include "requests.hpp"
#include "sentriton/manifest.hpp"

namespace sentriton {

class Core;

/// Embeds the golden sentences of the first server, and compares the vectors with those of sentence-transformers.
class Canary : public Sleeper {
public:
    using Done = std::function<void(Result<HealthReport>)>;

    Canary(Core& core, Duration timeout, Done done);

    void run();
    /// gRPC's deadline ends each step.
    void woken(Time) override {}
    void closed() override { finish(closed_failure()); }

private:
    void read_vectors();
    void read(const std::string& name, AssetReader parse, void (Canary::*next)());
    void embed();
    void compare(const Matrix& found);
    void finish(Result<HealthReport> result);
    std::optional<Duration> left();

    Core& core_;
    Deadline deadline_;
    Done done_;
    std::shared_ptr<const Manifest> manifest_;
    Golden golden_;
    Texts texts_;
};

}  // namespace sentriton
