#include "small_server.hpp"

#include <cstring>
#include <thread>

#include "protocol.hpp"

namespace sentriton {

namespace {

TextList elements(const std::string& raw) {
    TextList texts;
    for (std::size_t place = 0; place < raw.size();) {
        std::uint32_t size = 0;
        std::memcpy(&size, raw.data() + place, sizeof size);
        texts.push_back(raw.substr(place + 4, size));
        place += 4 + size;
    }
    return texts;
}

grpc::Status cancelled() { return {grpc::StatusCode::CANCELLED, "nobody waits for the answer"}; }

}  // namespace

float small_value(const std::string& text) {
    const auto place = text.rfind('w');
    const bool is_word = place != std::string::npos && place + 1 < text.size() &&
                         text.find_first_not_of("0123456789", place + 1) == std::string::npos;
    return is_word ? std::stof(text.substr(place + 1)) : static_cast<float>(text.size());
}

Fields small_manifest() {
    const auto sixty_four = [](char letter) { return std::string(64, letter); };
    return {{"name", R"("small")"},
            {"fingerprint", '"' + sixty_four('f') + '"'},
            {"dimension", std::to_string(small_dimension)},
            {"max_seq_length", "32"},
            {"vocab_size", "4000"},
            {"max_batch_size", "64"},
            {"pooling", R"(["mean"])"},
            {"include_prompt", "true"},
            {"prompts", "{}"},
            {"default_prompt_name", "null"},
            {"similarity", R"("cosine")"},
            {"precision", R"("fp32")"},
            {"device", R"("cpu")"},
            {"min_cosine", "0.99"},
            {"parity", R"({"sentences": 3, "min_cosine": 1})"},
            {"files", R"({"tokenizer.json": ")" + sixty_four('a') + "\"}"},
            {"sentriton_version", R"("0.2.0")"}};
}

std::string to_json(const Fields& fields) {
    std::string text = "{";
    for (const auto& [name, value] : fields) {
        text += (text.size() > 1 ? ", \"" : "\"") + name + "\": " + value;
    }
    return text + "}";
}

SmallServer::SmallServer(std::shared_ptr<grpc::ServerCredentials> credentials)
    : credentials_(credentials ? std::move(credentials) : grpc::InsecureServerCredentials()) {
    state_.assets = {{"manifest.json", to_json(small_manifest())}, {"golden.json", "{}"}};
    start();
}

SmallServer::~SmallServer() { stop(); }

void SmallServer::start() {
    over_ = false;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), credentials_, &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
}

void SmallServer::stop() {
    over_ = true;
    if (server_) {
        server_->Shutdown(std::chrono::system_clock::now());
        server_ = nullptr;
    }
}

void SmallServer::silence_from(int first) {
    refuse([this, first](int number, const TextList&) {
        if (number == first) {
            silence(true);
        }
        return grpc::Status::OK;
    });
}

grpc::Status SmallServer::ModelInfer(grpc::ServerContext* context, const inference::ModelInferRequest* request,
                                     Response* response) {
    if (request->model_name() != "assets") {
        return embed(*context, *request, *response);
    }
    if (!wait(*context, with([](const auto& state) { return state.asset_delay; }))) {
        return cancelled();
    }
    return give_asset(elements(request->raw_input_contents(0)).front(), *response);
}

grpc::Status SmallServer::embed(grpc::ServerContext& context, const inference::ModelInferRequest& request,
                                Response& response) {
    const TextList texts = elements(request.raw_input_contents(0));
    const auto& metadata = context.client_metadata();
    const auto key = metadata.find("triton-grpc-protocol-access-key");
    int number = 0;
    std::function<grpc::Status(int, const TextList&)> refuse;
    Duration delay{};
    with([&](auto& state) {
        number = state.received++;
        refuse = state.refuse;
        delay = state.delay;
        state.at_once = std::max(state.at_once, ++state.in_flight);
        state.rows.push_back(static_cast<int>(texts.size()));
        state.timeouts.push_back(std::chrono::microseconds(request.parameters().at("timeout").int64_param()));
        state.keys.push_back(key == metadata.end() ? "" : std::string(key->second.data(), key->second.size()));
    });
    const grpc::Status refusal = refuse ? refuse(number, texts) : grpc::Status::OK;
    const bool awaited = wait(context, delay);
    return with([&](auto& state) {
        --state.in_flight;
        if (!awaited || !refusal.ok()) {
            return awaited ? refusal : cancelled();
        }
        response = embeddings_of(texts);
        if (state.change) {
            state.change(response);
        }
        return grpc::Status::OK;
    });
}

grpc::Status SmallServer::give_asset(const std::string& name, Response& response) {
    return with([&](auto& state) {
        if (state.refuse_asset) {
            return state.refuse_asset();
        }
        std::string content;
        push_element(content, "", state.assets[name]);
        response = response_of("assets", "content", "BYTES", {1}, content);
        if (state.change_asset) {
            state.change_asset(response);
        }
        return grpc::Status::OK;
    });
}

bool SmallServer::wait(grpc::ServerContext& context, Duration delay) {
    const auto end = Clock::now() + delay;
    while (Clock::now() < end || with([](const auto& state) { return state.silent; })) {
        if (over_ || context.IsCancelled()) {
            with([](auto& state) { ++state.cancelled; });
            return false;
        }
        std::this_thread::sleep_for(5ms);
    }
    return true;
}

std::function<grpc::Status(int, const TextList&)> always(const grpc::Status& status) {
    return [status](int, const TextList&) { return status; };
}

grpc::Status full() { return {grpc::StatusCode::UNAVAILABLE, "Exceeds maximum queue size"}; }

grpc::Status away() { return {grpc::StatusCode::UNAVAILABLE, "Server is stopping"}; }

Response embeddings_of(const TextList& texts) {
    std::string raw;
    for (const auto& text : texts) {
        const std::vector<float> row(small_dimension, small_value(text));
        raw.append(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(float));
    }
    return response_of("embed_text", "sentence_embedding", "FP32",
                       {static_cast<std::int64_t>(texts.size()), static_cast<std::int64_t>(small_dimension)}, raw);
}

Response response_of(const std::string& model, const std::string& name, const std::string& datatype,
                     const std::vector<std::int64_t>& shape, const std::string& raw) {
    Response response;
    response.set_model_name(model);
    auto* output = response.add_outputs();
    output->set_name(name);
    output->set_datatype(datatype);
    output->mutable_shape()->Add(shape.begin(), shape.end());
    response.add_raw_output_contents(raw);
    return response;
}

}  // namespace sentriton
