#pragma once

#include <functional>
#include <memory>
#include <string>

#include "clock.hpp"
#include "failure.hpp"
#include "loop.hpp"
#include "settings.hpp"

namespace inference {
class ModelInferRequest;
class ModelInferResponse;
}  // namespace inference

namespace sentriton {

/// The response to a request, or its error.
using Answer = Result<std::unique_ptr<inference::ModelInferResponse>>;

/// Reads the content of an asset. Its std::runtime_error has the reason of a failure.
using AssetReader = std::function<void(std::string_view content)>;

/// A channel to one address.
class Connection {
public:
    Connection(const std::string& address, const CheckedSettings& settings, Loop& loop);
    ~Connection();

    const std::string& address() const { return address_; }

    /// Sends one request. `done` receives the answer in the loop's thread, even if the operation is cancelled.
    std::shared_ptr<Operation> infer(const inference::ModelInferRequest& request, Duration timeout,
                                     std::function<void(Answer)> done);

    /// Fetches an asset and reads it. A wrong one is a ServerError that names server and file.
    std::shared_ptr<Operation> read_asset_of(const std::string& name, Duration timeout, AssetReader read,
                                             std::function<void(std::optional<Failure>)> done);

private:
    struct Channel;  // of gRPC

    std::string address_;
    Loop& loop_;
    std::unique_ptr<Channel> channel_;
};

}  // namespace sentriton
