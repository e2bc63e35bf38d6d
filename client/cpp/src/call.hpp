#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deadline.hpp"
#include "failure.hpp"
#include "requests.hpp"
#include "sentriton/manifest.hpp"
#include "sentriton/matrix.hpp"
#include "sentriton/settings.hpp"

namespace sentriton {

class Core;

/// One encode call with one model: its sentences, the form of its vectors and its result.
struct Call {
    std::shared_ptr<const Manifest> manifest;
    std::shared_ptr<Deadline> deadline;
    const Texts& texts;
    std::string prompt;
    std::size_t max_rows;
    bool normalize;
    Matrix result;
    /// Receives the finished call, or the failure.
    std::function<void(Call&, const std::optional<Failure>&)> done;

    std::size_t dimension() const { return static_cast<std::size_t>(manifest->dimension); }
    /// Sets a row of the result to the vector at the beginning of `raw`; false if one of its numbers is not finite.
    bool fill(std::size_t index, std::string_view raw);
    /// `fill` for several consecutive rows of `raw`. The failure names the first row that is not finite.
    std::optional<Failure> fill_all(const std::vector<std::size_t>& indices, std::string_view raw);
};

/// The prompts that an encode function prefers.
using PromptNames = std::vector<std::string>;

/// A call on this model; InvalidInput if its options are not for the model.
std::shared_ptr<Call> make_call(std::shared_ptr<const Manifest> manifest, const Texts& texts,
                                const EncodeOptions& options, const PromptNames& preferred,
                                std::shared_ptr<Deadline> deadline);

/// Embeds the sentences: in a joined request if the call is small, else in separate requests. For the loop's thread.
void run(Core& core, const std::shared_ptr<Call>& call);

}  // namespace sentriton
