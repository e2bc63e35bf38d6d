#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "clock.hpp"
#include "inference/inference.grpc.pb.h"

namespace sentriton {

constexpr std::size_t small_dimension = 4;

/// A small server's answer in every dimension: the number of a word such as w12, or the length of another text.
float small_value(const std::string& text);

using Response = inference::ModelInferResponse;
using TextList = std::vector<std::string>;

/// Fields of manifest.json and their JSON.
using Fields = std::map<std::string, std::string>;
Fields small_manifest();
std::string to_json(const Fields& fields);

/// The parts of a small server that a test changes or counts.
struct SmallState {
    std::map<std::string, std::string> assets;
    std::function<void(Response&)> change;
    std::function<void(Response&)> change_asset;
    std::function<grpc::Status(int number, const TextList& texts)> refuse;
    std::function<grpc::Status()> refuse_asset;
    Duration delay{};  // of embeddings
    Duration asset_delay{};
    bool silent = false;
    int received = 0;  // requests for embeddings
    int in_flight = 0;
    int at_once = 0;  // the most at a time
    int cancelled = 0;
    std::vector<int> rows;  // of each request
    std::vector<Duration> timeouts;
    std::vector<std::string> keys;  // access keys
};

/// It speaks the protocol and computes nothing: it answers right, wrongly, late or not at all.
class SmallServer : public inference::GRPCInferenceService::Service {
public:
    explicit SmallServer(std::shared_ptr<grpc::ServerCredentials> credentials = nullptr);
    ~SmallServer() override;

    std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
    int port() const { return port_; }
    void start();
    void stop();

    /// Changes or reads the state while the server serves.
    template <typename Change>
    auto with(Change change) {
        const std::lock_guard lock(mutex_);
        return change(state_);
    }
    int count() {
        return with([](const auto& state) { return state.received; });
    }
    void silence(bool on) {
        with([&](auto& state) { state.silent = on; });
    }
    void refuse(std::function<grpc::Status(int, const TextList&)> with_this) {
        with([&](auto& state) { state.refuse = std::move(with_this); });
    }
    /// Makes the server silent with its request number `first`.
    void silence_from(int first);

    grpc::Status ModelInfer(grpc::ServerContext* context, const inference::ModelInferRequest* request,
                            Response* response) override;

private:
    grpc::Status embed(grpc::ServerContext& context, const inference::ModelInferRequest& request, Response& response);
    grpc::Status give_asset(const std::string& name, Response& response);
    bool wait(grpc::ServerContext& context, Duration delay);  // false: no caller waits for the answer

    std::shared_ptr<grpc::ServerCredentials> credentials_;
    int port_ = 0;
    std::mutex mutex_;
    SmallState state_;
    std::atomic<bool> over_{false};
    std::unique_ptr<grpc::Server> server_;
};

/// A refusal with every request.
std::function<grpc::Status(int, const TextList&)> always(const grpc::Status& status);
grpc::Status full();
grpc::Status away();

Response embeddings_of(const TextList& texts);
Response response_of(const std::string& model, const std::string& name, const std::string& datatype,
                     const std::vector<std::int64_t>& shape, const std::string& raw);

}  // namespace sentriton
