#include "connection.hpp"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <atomic>

#include "deadline.hpp"
#include "inference/inference.grpc.pb.h"
#include "protocol.hpp"
#include "queue.hpp"
#include "tls.hpp"

namespace sentriton {

namespace {

// Triton adds "triton-grpc-protocol-" to the name.
constexpr const char* access_header = "triton-grpc-protocol-access-key";

/// Whether an address is the client's own machine.
bool is_own_machine(const std::string& address) {
    const auto begin = address.rfind('/') + 1;  // 0 without a slash
    const auto host = address.substr(begin, address.rfind(':') - begin);
    const bool is_loopback = host.compare(0, 4, "127.") == 0 && host.find_first_not_of("0123456789.") == host.npos;
    return is_loopback || host == "localhost" || host == "0.0.0.0" || host == "[::1]" || host == "[::]";
}

grpc::ChannelArguments channel_arguments(const std::string& address, const CheckedSettings& settings) {
    grpc::ChannelArguments arguments;
    // By default, gRPC's limit is 4 MB, 1,000 vectors of 1,024 dimensions.
    arguments.SetMaxSendMessageSize(-1);
    arguments.SetMaxReceiveMessageSize(-1);
    // Each encoder has its own connections.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // Detects a connection that a firewall or a dead node has dropped, before the deadline of a call.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    // Reconnects soon after an outage. By default, gRPC's back-off grows to two minutes.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);  // the time of an attempt to connect
    // Finds moved servers soon. By default, gRPC re-resolves a name at most every 30 s.
    arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 5'000);
    // The client retries by itself, within its deadline and budget.
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetServiceConfigJSON(R"({"loadBalancingConfig": [{"round_robin": {}}]})");
    // gRPC would ask the proxy in $http_proxy for servers of this machine as well.
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, is_own_machine(address) ? 0 : 1);
    if (!settings.server_name.empty()) {
        arguments.SetSslTargetNameOverride(settings.server_name);
    }
    return arguments;
}

/// Ends a request that got its connection so late that too little time is left to send it. gRPC asks for these metadata
/// once a request has a connection.
class LastLook : public grpc::MetadataCredentialsPlugin {
public:
    LastLook(Time until, std::shared_ptr<std::atomic<bool>> too_late) : until_(until), too_late_(std::move(too_late)) {}

    bool IsBlocking() const override { return false; }

    grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                             std::multimap<std::string, std::string>*) override {
        if (until_ - Clock::now() >= least_time) {
            return grpc::Status::OK;
        }
        *too_late_ = true;
        return {grpc::StatusCode::DEADLINE_EXCEEDED, ""};
    }

private:
    Time until_;
    std::shared_ptr<std::atomic<bool>> too_late_;
};

/// A request, and its response or error.
struct Exchange : Operation {
    std::string address;
    std::shared_ptr<std::atomic<bool>> too_late = std::make_shared<std::atomic<bool>>(false);
    grpc::ClientContext context;
    inference::ModelInferResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<inference::ModelInferResponse>> reader;
    std::function<void(Answer)> done;

    void complete() override {
        if (const auto settle = std::move(done)) {
            settle(answer());
        }
    }

    void cancel() override { context.TryCancel(); }

    void abandon() override { done = nullptr; }

    Answer answer() {
        if (status.ok()) {
            return std::make_unique<inference::ModelInferResponse>(std::move(response));
        }
        if (*too_late) {  // gRPC reports it as UNAVAILABLE
            return translate({StatusCode::deadline_exceeded, "connecting took too long"}, address);
        }
        return translate({static_cast<StatusCode>(status.error_code()), status.error_message()}, address);
    }
};

}  // namespace

struct Connection::Channel {
    std::string access_key;
    std::unique_ptr<inference::GRPCInferenceService::Stub> stub;
};

Connection::Connection(const std::string& address, const CheckedSettings& settings, Loop& loop)
    : address_(address), loop_(loop), channel_(std::make_unique<Channel>()) {
    const auto credentials =
        settings.tls ? grpc::SslCredentials(tls_options(settings)) : grpc::InsecureChannelCredentials();
    const auto channel = grpc::CreateCustomChannel(address, credentials, channel_arguments(address, settings));
    channel_->access_key = settings.access_key;
    channel_->stub = inference::GRPCInferenceService::NewStub(channel);
}

Connection::~Connection() = default;

std::shared_ptr<Operation> Connection::infer(const inference::ModelInferRequest& request, Duration timeout,
                                             std::function<void(Answer)> done) {
    auto exchange = std::make_shared<Exchange>();
    exchange->address = address_;
    exchange->done = std::move(done);
    auto& context = exchange->context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
    context.set_credentials(grpc::experimental::MetadataCredentialsFromPlugin(
        std::make_unique<LastLook>(Clock::now() + timeout, exchange->too_late), GRPC_SECURITY_NONE));
    if (!channel_->access_key.empty()) {
        context.AddMetadata(access_header, channel_->access_key);
    }
    exchange->reader = channel_->stub->AsyncModelInfer(&context, request, &loop_.queue().completions);
    void* tag = loop_.keep(exchange);
    exchange->reader->Finish(&exchange->response, &exchange->status, tag);
    return exchange;
}

std::shared_ptr<Operation> Connection::read_asset_of(const std::string& name, Duration timeout, AssetReader read,
                                                     std::function<void(std::optional<Failure>)> done) {
    auto settle = [address = address_, name, read = std::move(read), done = std::move(done)](Answer answer) {
        if (auto* failure = std::get_if<Failure>(&answer)) {
            return done(*failure);
        }
        auto content = read_asset(*std::get<std::unique_ptr<inference::ModelInferResponse>>(answer));
        if (auto* failure = std::get_if<Failure>(&content)) {
            return done(failure->of_wrong_answer(address));
        }
        try {
            read(std::get<std::string_view>(content));
        } catch (const std::runtime_error& wrong) {
            return done(server_error(address + " sent a " + name + " that this client cannot read: " + wrong.what()));
        }
        done(std::nullopt);
    };
    return infer(asset_request(name), timeout, std::move(settle));
}

}  // namespace sentriton
