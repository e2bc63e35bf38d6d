#include "sentriton/encoder.hpp"

#include <utility>

#include "arguments.hpp"
#include "core.hpp"
#include "encoding.hpp"
#include "failure.hpp"
#include "health.hpp"
#include "settings.hpp"
#include "similarity.hpp"

namespace sentriton {

namespace {

const PromptNames none;
const PromptNames query = {"query"};
const PromptNames document = {"document", "passage", "corpus"};

Core& open(const std::unique_ptr<Core>& core) {
    if (core == nullptr) {
        throw Closed("this encoder was moved from; use the one that it was moved to");
    }
    return *core;
}

/// Waits for the result. `start` gets a function that takes the result in the loop's thread.
template <typename Value, typename Start>
Value wait_for(const Start& start) {
    const auto promise = std::make_shared<std::promise<Result<Value>>>();
    auto future = promise->get_future();
    start([promise](Result<Value> result) { promise->set_value(std::move(result)); });
    return value_or_raise(future.get());
}

Matrix encode_now(Core& core, const std::vector<std::string_view>& sentences, const EncodeOptions& options,
                  const PromptNames& preferred) {
    return wait_for<Matrix>([&](Encoding::Done done) {
        std::make_shared<Encoding>(core, sentences, options, preferred, false, std::move(done))->start();
    });
}

/// A future of the result. `take` converts the matrix.
template <typename Value, typename Take>
std::future<Value> encode_later(Core& core, const std::vector<std::string_view>& sentences,
                                const EncodeOptions& options, const PromptNames& preferred, Take take) {
    const auto promise = std::make_shared<std::promise<Value>>();
    auto future = promise->get_future();
    const auto done = [promise, take](Result<Matrix> result) {
        if (const auto* failure = std::get_if<Failure>(&result)) {
            promise->set_exception(exception_of(*failure));
        } else {
            promise->set_value(take(std::get<Matrix>(std::move(result))));
        }
    };
    try {
        std::make_shared<Encoding>(core, sentences, options, preferred, true, done)->start();
    } catch (const SentritonError&) {
        promise->set_exception(std::current_exception());
    }
    return future;
}

std::vector<float> values_of(Matrix&& matrix) { return std::move(matrix).values(); }

std::future<Matrix> many_later(Core& core, const Sentences& sentences, const EncodeOptions& options,
                               const PromptNames& preferred) {
    return encode_later<Matrix>(core, sentences.texts(), options, preferred,
                                [](Matrix&& all) { return std::move(all); });
}

std::future<std::vector<float>> one_later(Core& core, std::string_view sentence, const EncodeOptions& options,
                                          const PromptNames& preferred) {
    return encode_later<std::vector<float>>(core, {sentence}, options, preferred, values_of);
}

}  // namespace

SentenceEncoder::SentenceEncoder(std::string_view url, const Settings& settings)
    : core_(std::make_unique<Core>(resolve_settings(url, settings))) {}

SentenceEncoder::~SentenceEncoder() = default;
SentenceEncoder::SentenceEncoder(SentenceEncoder&& other) noexcept = default;
SentenceEncoder& SentenceEncoder::operator=(SentenceEncoder&& other) noexcept = default;

const std::string& SentenceEncoder::url() const { return open(core_).settings.url; }

Matrix SentenceEncoder::encode(const Sentences& sentences, const EncodeOptions& options) const {
    return encode_now(open(core_), sentences.texts(), options, none);
}

Matrix SentenceEncoder::encode_query(const Sentences& sentences, const EncodeOptions& options) const {
    return encode_now(open(core_), sentences.texts(), options, query);
}

Matrix SentenceEncoder::encode_document(const Sentences& sentences, const EncodeOptions& options) const {
    return encode_now(open(core_), sentences.texts(), options, document);
}

std::vector<float> SentenceEncoder::encode_one(std::string_view sentence, const EncodeOptions& options) const {
    return values_of(encode_now(open(core_), {sentence}, options, none));
}

std::vector<float> SentenceEncoder::encode_one_query(std::string_view sentence, const EncodeOptions& options) const {
    return values_of(encode_now(open(core_), {sentence}, options, query));
}

std::vector<float> SentenceEncoder::encode_one_document(std::string_view sentence, const EncodeOptions& options) const {
    return values_of(encode_now(open(core_), {sentence}, options, document));
}

std::future<Matrix> SentenceEncoder::encode_async(const Sentences& sentences, const EncodeOptions& options) const {
    return many_later(open(core_), sentences, options, none);
}

std::future<Matrix> SentenceEncoder::encode_query_async(const Sentences& sentences,
                                                        const EncodeOptions& options) const {
    return many_later(open(core_), sentences, options, query);
}

std::future<Matrix> SentenceEncoder::encode_document_async(const Sentences& sentences,
                                                           const EncodeOptions& options) const {
    return many_later(open(core_), sentences, options, document);
}

std::future<std::vector<float>> SentenceEncoder::encode_one_async(std::string_view sentence,
                                                                  const EncodeOptions& options) const {
    return one_later(open(core_), sentence, options, none);
}

std::future<std::vector<float>> SentenceEncoder::encode_one_query_async(std::string_view sentence,
                                                                        const EncodeOptions& options) const {
    return one_later(open(core_), sentence, options, query);
}

std::future<std::vector<float>> SentenceEncoder::encode_one_document_async(std::string_view sentence,
                                                                           const EncodeOptions& options) const {
    return one_later(open(core_), sentence, options, document);
}

Matrix SentenceEncoder::similarity(const Matrix& first, const Matrix& second) const {
    return score_matrix(info().similarity, first, second);
}

Manifest SentenceEncoder::info() const {
    Core& core = open(core_);
    const auto deadline = std::make_shared<Deadline>(core.settings.timeout, core.settings.stall_timeout, Clock::now());
    return *wait_for<std::shared_ptr<Reading>>([&](const Info::Done& done) {
                if (!core.loop.post([&core, deadline, done] { core.info.wait(deadline, done); })) {
                    done(closed_failure());
                }
            })->manifest;
}

HealthReport SentenceEncoder::health(Seconds timeout) const {
    Core& core = open(core_);
    const Duration checked = checked_time("timeout", timeout);
    return wait_for<HealthReport>([&](const Canary::Done& done) {
        const auto canary = std::make_shared<Canary>(core, checked, done);
        if (!core.loop.post([canary] { canary->run(); })) {
            done(closed_failure());
        }
    });
}

void SentenceEncoder::close() { open(core_).loop.close(); }

}  // namespace sentriton
