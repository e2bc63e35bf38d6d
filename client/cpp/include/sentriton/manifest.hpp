#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sentriton {

/// A model's function of two embeddings. Higher is more similar.
enum class Similarity {
    /// The cosine of the angle; 0 with a row of zeros.
    cosine,
    dot,
    /// The negative euclidean distance.
    euclidean,
    /// The negative manhattan distance.
    manhattan,
};

/// A server's description of its model.
struct Manifest {
    std::string name;
    /// The sha256 of weights, tokenizer, modules, prompts and max_seq_length. It is the same at every precision and on
    /// every device.
    std::string fingerprint;
    /// The length of a sentence's vector.
    int dimension = 0;
    /// The largest number of tokens of a sentence, special ones included. The server truncates longer sentences.
    int max_seq_length = 0;
    int vocab_size = 0;
    /// The largest number of rows of one request.
    int max_batch_size = 0;
    std::vector<std::string> pooling;
    /// Whether a prompt's tokens are pooled too.
    bool include_prompt = false;
    std::map<std::string, std::string> prompts;
    std::optional<std::string> default_prompt_name;
    Similarity similarity = Similarity::cosine;
    std::string precision;
    std::string device;
    /// The smallest cosine to sentence-transformers' vectors that the precision allows.
    double min_cosine = 0;
    std::map<std::string, double> parity;
    std::map<std::string, std::string> files;
    std::string sentriton_version;
};

/// A passed canary: the served model, and the smallest cosine to its golden vectors.
struct HealthReport {
    Manifest manifest;
    double min_cosine = 0;
};

}  // namespace sentriton
