#include "health.hpp"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <utility>

#include "call.hpp"
#include "core.hpp"
#include "inference/inference.pb.h"
#include "manifest.hpp"
#include "protocol.hpp"
#include "similarity.hpp"

namespace sentriton {

namespace {

std::string shown_cosine(const char* format, double value) {
    char text[32];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

EncodeOptions without_prompt() {
    EncodeOptions options;
    options.prompt = "";
    return options;
}

}  // namespace

Canary::Canary(Core& core, Duration timeout, Done done)
    : core_(core), deadline_(timeout, timeout, Clock::now()), done_(std::move(done)) {}

void Canary::run() {
    if (core_.loop.closing()) {
        return closed();
    }
    core_.loop.wake(*this, Clock::now() + longest_time);  // so that the loop's end also ends it
    const auto parse = [this](std::string_view content) {
        manifest_ = std::make_shared<const Manifest>(read_manifest(content));
    };
    read("manifest.json", parse, &Canary::read_vectors);
}

void Canary::read_vectors() {
    const auto parse = [this](std::string_view content) {
        golden_ = read_golden(content, static_cast<std::size_t>(manifest_->dimension));
    };
    read("golden.json", parse, &Canary::embed);
}

/// Fetches an asset, which `parse` takes, and continues with the next step.
void Canary::read(const std::string& name, AssetReader parse, void (Canary::*next)()) {
    const auto self = std::static_pointer_cast<Canary>(shared_from_this());
    const auto allowed = left();
    if (!allowed) {
        return;
    }
    core_.endpoints.all().front()->connection->read_asset_of(
        name, *allowed, std::move(parse), [self, next](const std::optional<Failure>& failure) {
            failure ? self->finish(*failure) : (self.get()->*next)();
        });
}

void Canary::embed() {
    const auto self = std::static_pointer_cast<Canary>(shared_from_this());
    const auto allowed = left();
    if (!allowed) {
        return;
    }
    Connection& server = *core_.endpoints.all().front()->connection;
    std::string elements;
    for (const auto& each : golden_.sentences) {
        push_element(elements, "", each);
        texts_.views.emplace_back(each);
    }
    const Parameters parameters{manifest_->fingerprint, core_.settings.priority, *allowed};
    const auto request = text_request(elements, texts_.views.size(), parameters);
    server.infer(request, *allowed, [self, &server](Answer answer) {
        if (auto* failure = std::get_if<Failure>(&answer)) {
            return self->finish(*failure);
        }
        const auto& response = *std::get<std::unique_ptr<inference::ModelInferResponse>>(answer);
        const auto call = make_call(self->manifest_, self->texts_, without_prompt(), {}, nullptr);
        auto raw = read_embeddings(response, self->texts_.views.size(), call->dimension());
        if (auto* failure = std::get_if<Failure>(&raw)) {
            return self->finish(failure->of_wrong_answer(server.address()));
        }
        std::vector<std::size_t> indices(self->texts_.views.size());
        std::iota(indices.begin(), indices.end(), std::size_t{0});
        if (const auto failure = call->fill_all(indices, std::get<std::string_view>(raw))) {
            return self->finish(failure->of_wrong_answer(server.address()));
        }
        self->compare(call->result);
    });
}

void Canary::compare(const Matrix& found) {
    double smallest = 1;
    for (std::size_t i = 0; i < found.rows(); ++i) {
        smallest = std::min(smallest, cosine(found[i], golden_.embeddings[i]));
    }
    // 1e-6 is the noise of float32.
    if (smallest < manifest_->min_cosine - 1e-6) {
        return finish(server_error("the canary failed at " + core_.endpoints.all().front()->connection->address() +
                                   ": the smallest cosine to the golden vectors is " + shown_cosine("%.6f", smallest) +
                                   ", " + manifest_->precision + " must reach " +
                                   shown_cosine("%g", manifest_->min_cosine)));
    }
    finish(HealthReport{*manifest_, smallest});
}

void Canary::finish(Result<HealthReport> result) {
    core_.loop.forget(*this);
    if (const auto done = std::exchange(done_, nullptr)) {
        done(std::move(result));
    }
}

/// The time for the next request; none if the canary ended, because it is too short for a request.
std::optional<Duration> Canary::left() {
    const Duration left = deadline_.left(Clock::now());
    if (left == Duration{}) {
        finish(deadline_.exceeded(core_.endpoints.all().front()->connection->address()));
        return std::nullopt;
    }
    return left;
}

}  // namespace sentriton
