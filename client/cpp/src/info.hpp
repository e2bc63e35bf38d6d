#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "deadline.hpp"
#include "failure.hpp"
#include "sentriton/manifest.hpp"

namespace sentriton {

class Core;
class ManifestWait;

/// A request for the manifest, which all waiting calls share.
struct Reading {
    std::shared_ptr<const Manifest> manifest;  // null: it has not arrived yet
    std::vector<std::shared_ptr<ManifestWait>> waiting;
};

/// Reads the manifest once for all calls. It belongs to the loop's thread.
class Info {
public:
    explicit Info(Core& core) : core_(core) {}

    using Done = std::function<void(Result<std::shared_ptr<Reading>>)>;
    /// Gives the reading once the manifest has arrived, or the call's error at its deadline. Other calls continue to
    /// wait.
    void wait(const std::shared_ptr<Deadline>& deadline, Done done);
    /// Makes the next call read the manifest again, unless another call has done so.
    void forget(const std::shared_ptr<Reading>& one);

private:
    void ask(const std::shared_ptr<Reading>& reading);

    Core& core_;
    std::shared_ptr<Reading> reading_;
};

}  // namespace sentriton
