#pragma once

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sentriton/manifest.hpp"
#include "sentriton/matrix.hpp"
#include "sentriton/sentences.hpp"
#include "sentriton/settings.hpp"

namespace sentriton {

class Core;

/// Embeds sentences through a Sentriton server. Its const functions are safe for concurrent callers: use one encoder
/// for all threads. Calls of up to eight sentences that wait at the same time share requests.
///
/// The errors are those of errors.hpp. InvalidInput is thrown before the first request. An `_async` function copies the
/// sentences and throws nothing: its future has the result or the error. A moved-from encoder can only be assigned to
/// or destroyed.
class SentenceEncoder {
public:
    /// An encoder for the server at `url`: host:port, several addresses separated by commas, or dns:///host:port. If it
    /// is empty, it is $SENTRITON_URL or localhost:8001. The first call connects and reads the model's manifest.
    explicit SentenceEncoder(std::string_view url = {}, const Settings& settings = {});

    /// Closes the encoder.
    ~SentenceEncoder();

    SentenceEncoder(SentenceEncoder&& other) noexcept;
    SentenceEncoder& operator=(SentenceEncoder&& other) noexcept;

    /// The address or addresses of the server.
    const std::string& url() const;

    /// Embeds sentences: a row of the model's dimension for each, in order.
    Matrix encode(const Sentences& sentences, const EncodeOptions& options = {}) const;
    /// `encode` with the model's prompt "query", if it has one and no other is given.
    Matrix encode_query(const Sentences& sentences, const EncodeOptions& options = {}) const;
    /// `encode` with the first of the prompts "document", "passage" and "corpus" that the model has, if no other is
    /// given.
    Matrix encode_document(const Sentences& sentences, const EncodeOptions& options = {}) const;

    /// Embeds one sentence.
    std::vector<float> encode_one(std::string_view sentence, const EncodeOptions& options = {}) const;
    std::vector<float> encode_one_query(std::string_view sentence, const EncodeOptions& options = {}) const;
    std::vector<float> encode_one_document(std::string_view sentence, const EncodeOptions& options = {}) const;

    /// The same without waiting. Destroying the future does not wait and does not cancel the call.
    std::future<Matrix> encode_async(const Sentences& sentences, const EncodeOptions& options = {}) const;
    std::future<Matrix> encode_query_async(const Sentences& sentences, const EncodeOptions& options = {}) const;
    std::future<Matrix> encode_document_async(const Sentences& sentences, const EncodeOptions& options = {}) const;
    std::future<std::vector<float>> encode_one_async(std::string_view sentence,
                                                     const EncodeOptions& options = {}) const;
    std::future<std::vector<float>> encode_one_query_async(std::string_view sentence,
                                                           const EncodeOptions& options = {}) const;
    std::future<std::vector<float>> encode_one_document_async(std::string_view sentence,
                                                              const EncodeOptions& options = {}) const;

    /// Scores every row of the first against every row of the second by the model's similarity function: [n, d] and [m,
    /// d] to [n, m]. Higher is more similar. InvalidInput if d differs.
    Matrix similarity(const Matrix& first, const Matrix& second) const;

    /// The served model's manifest, from the first server that answers. It is read once.
    Manifest info() const;

    /// Embeds the golden sentences of the first server and compares the vectors with those of sentence-transformers.
    /// ServerError if they differ by more than the precision allows. The check is not retried.
    HealthReport health(Seconds timeout = Seconds(10)) const;

    /// Closes the connections. Calls in progress and later calls fail with Closed.
    void close();

private:
    friend struct Access;  // of the tests

    std::unique_ptr<Core> core_;
};

}  // namespace sentriton
