#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace sentriton {

/// A time. Every std::chrono::duration converts to it: `1500ms`, `std::chrono::seconds(5)`.
using Seconds = std::chrono::duration<double>;

/// A lane of the server. Requests of the bulk lane wait for those of the query lane.
enum class Priority { query, bulk };

/// The reaction of a call to another model on the server.
enum class OnModelChange {
    /// Ends the call with ContractMismatch.
    raise,
    /// Reads the manifest again and restarts the call with that model, at most three times.
    reload,
};

/// The settings of an encoder. A setting that is not given comes from its environment variable, such as
/// $SENTRITON_TIMEOUT_S, then from its default. An empty text counts as not given.
struct Settings {
    /// Bounds a whole call, retries included. The default is no bound but `stall_timeout`.
    std::optional<Seconds> timeout;
    /// Ends a call if none of its requests is answered for this long. The default is 60 s.
    std::optional<Seconds> stall_timeout;
    /// The server's lane. The default is Priority::query.
    std::optional<Priority> priority;
    /// Bounds the requests of one call that are in flight. The default is 16.
    std::optional<int> max_in_flight;
    /// The reaction to another model on the server. The default is OnModelChange::raise.
    std::optional<OnModelChange> on_model_change;
    /// Turns TLS on or off. A certificate turns it on as well.
    std::optional<bool> tls;
    /// The PEM file of the authorities that the client trusts; turns TLS on. The default is the system's.
    std::string root_certificates;
    /// The PEM file of the client's certificate, for mutual TLS; turns TLS on. It needs `client_key`.
    std::string client_certificate;
    /// The PEM file of the certificate's key.
    std::string client_key;
    /// The name in the server's certificate, if it differs from the address.
    std::string server_name;
    /// The access key of the server, sent with every request and never shown.
    std::string access_key;
};

/// The settings of one call.
struct EncodeOptions {
    /// Puts a named prompt of the model before every sentence.
    std::optional<std::string> prompt_name;
    /// Puts this text before every sentence. It overrides `prompt_name`.
    std::optional<std::string> prompt;
    /// Bounds the rows of one request. The default, and the bound, is the manifest's `max_batch_size`. With 1, the call
    /// shares no request with others.
    std::optional<int> batch_size;
    /// Keeps the first dimensions of every vector.
    std::optional<int> truncate_dim;
    /// Scales every vector to length 1, after `truncate_dim`.
    bool normalize_embeddings = false;
    /// Bounds the call, retries included, instead of Settings::timeout.
    std::optional<Seconds> timeout;
};

}  // namespace sentriton
