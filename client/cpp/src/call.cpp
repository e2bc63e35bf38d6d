#include "call.hpp"

#include <algorithm>

#include "arguments.hpp"
#include "core.hpp"
#include "dispatch.hpp"
#include "inference/inference.pb.h"
#include "member.hpp"
#include "protocol.hpp"
#include "similarity.hpp"

namespace sentriton {

namespace {

/// A call's own requests.
class OwnRequests : public Dispatcher {
public:
    OwnRequests(Core& core, std::shared_ptr<Call> call)
        : Dispatcher(core.loop),
          core_(core),
          call_(std::move(call)),
          window_(core.window.next()),
          plan_(call_->texts,
                {call_->max_rows, static_cast<std::size_t>(call_->manifest->max_seq_length), call_->prompt}),
          course_(call_->deadline, window_, core.budget, core.endpoints) {}

    void run() {
        course_.set_total(call_->texts.views.size());
        course_.follow([this] { return plan_.next(); });
        begin(course_);
    }

    inference::ModelInferRequest request(const RequestRows& rows, Duration left) override {
        return text_request(rows.texts, rows.indices.size(),
                            {call_->manifest->fingerprint, core_.settings.priority, left});
    }

    std::optional<Failure> collect(const RequestRows& rows, const std::string&,
                                   const inference::ModelInferResponse& response) override {
        auto raw = read_embeddings(response, rows.indices.size(), call_->dimension());
        if (auto* failure = std::get_if<Failure>(&raw)) {
            return *failure;
        }
        return call_->fill_all(rows.indices, std::get<std::string_view>(raw));
    }

    void done(const std::optional<Failure>& failure) override {
        core_.window = window_;
        call_->done(*call_,
                    failure ? std::optional(failure->with_progress(course_.finished(), course_.total())) : failure);
    }

    void closed() override {
        stop();
        call_->done(*call_, closed_failure());
    }

private:
    Core& core_;
    std::shared_ptr<Call> call_;
    Window window_;
    Plan plan_;
    Course course_;
};

Failure unknown_prompt(const Manifest& manifest, const std::string& name) {
    std::string known;
    for (const auto& [each, text] : manifest.prompts) {
        known += (known.empty() ? "" : ", ") + quoted(each);
    }
    return invalid_input("prompt_name is " + quoted(name) + "; the model's prompts are " +
                         (known.empty() ? "none" : known));
}

/// The text before every sentence.
std::string resolve_prompt(const Manifest& manifest, const EncodeOptions& options, const PromptNames& preferred) {
    std::string text;
    if (options.prompt) {
        text = *options.prompt;
    } else if (options.prompt_name) {
        const auto found = manifest.prompts.find(*options.prompt_name);
        if (found == manifest.prompts.end()) {
            raise(unknown_prompt(manifest, *options.prompt_name));
        }
        text = found->second;
    } else {
        const auto name = std::find_if(preferred.begin(), preferred.end(),
                                       [&](const auto& each) { return manifest.prompts.count(each) != 0; });
        if (name != preferred.end()) {
            text = manifest.prompts.at(*name);
        } else if (manifest.default_prompt_name) {
            text = manifest.prompts.at(*manifest.default_prompt_name);
        }
    }
    if (!text.empty() && !manifest.include_prompt) {
        raise(invalid_input("prompt is " + quoted(text) +
                            "; this model leaves prompts out of pooling, which only the Python client supports; "
                            "allowed is \"\""));
    }
    return text;
}

}  // namespace

bool Call::fill(std::size_t index, std::string_view raw) {
    const std::size_t columns = result.columns();
    float* row = result.data() + index * columns;
    if (!decode_row(row, columns, raw.substr(0, 4 * dimension()))) {
        return false;
    }
    if (normalize) {
        const double size = std::max(length({row, columns}), 1e-12);
        std::transform(row, row + columns, row, [&](float each) { return static_cast<float>(each / size); });
    }
    return true;
}

std::optional<Failure> Call::fill_all(const std::vector<std::size_t>& indices, std::string_view raw) {
    for (std::size_t row = 0; row < indices.size(); ++row) {
        if (!fill(indices[row], raw.substr(row * 4 * dimension()))) {
            return not_finite(row);
        }
    }
    return std::nullopt;
}

std::shared_ptr<Call> make_call(std::shared_ptr<const Manifest> manifest, const Texts& texts,
                                const EncodeOptions& options, const PromptNames& preferred,
                                std::shared_ptr<Deadline> deadline) {
    std::string prompt = resolve_prompt(*manifest, options, preferred);
    const int rows = std::min(options.batch_size.value_or(manifest->max_batch_size), manifest->max_batch_size);
    const int dimension = options.truncate_dim.value_or(manifest->dimension);
    check_whole("truncate_dim", dimension, manifest->dimension);
    Matrix result(texts.views.size(), static_cast<std::size_t>(dimension));
    return std::make_shared<Call>(Call{std::move(manifest), std::move(deadline), texts, std::move(prompt),
                                       static_cast<std::size_t>(rows), options.normalize_embeddings, std::move(result),
                                       nullptr});
}

void run(Core& core, const std::shared_ptr<Call>& call) {
    if (auto member = make_member(core, call)) {
        return core.joiner->run(member);
    }
    std::make_shared<OwnRequests>(core, call)->run();
}

}  // namespace sentriton
