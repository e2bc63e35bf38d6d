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

/// The manifest, on its way from the server to all calls that wait for it.
struct Reading {
    std::shared_ptr<const Manifest> manifest;  // null: it is not here yet
    std::vector<std::shared_ptr<ManifestWait>> waiting;
};

/// Reads the manifest once for all calls. It belongs to the loop's thread.
class Info {
public:
    explicit Info(Core& core) : core_(core) {}

    using Done = std::function<void(Result<std::shared_ptr<Reading>>)>;
    /// Gives the reading when the manifest is here, unless the call has to end before: then its error. It does not end
    /// the wait of other calls.
    void wait(const std::shared_ptr<Deadline>& deadline, Done done);
    /// Makes the next call read the manifest that is served then, unless another call did so.
    void forget(const std::shared_ptr<Reading>& one);

private:
    void ask(const std::shared_ptr<Reading>& reading);

    Core& core_;
    std::shared_ptr<Reading> reading_;
};

}  // namespace sentriton
