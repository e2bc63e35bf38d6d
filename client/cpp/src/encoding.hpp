#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "call.hpp"
#include "deadline.hpp"
#include "failure.hpp"
#include "info.hpp"
#include "requests.hpp"

namespace sentriton {

/// One use of an encode function, from start to result. After a change of the model it has several calls, each with one
/// model.
class Encoding : public std::enable_shared_from_this<Encoding> {
public:
    using Done = std::function<void(Result<Matrix>)>;

    /// InvalidInput for arguments that no model allows. Without copies, the sentences must live until `done`.
    Encoding(Core& core, const std::vector<std::string_view>& sentences, EncodeOptions options,
             const PromptNames& preferred, bool copies, Done done);

    /// Starts; `done` fails at once if the encoder is closed.
    void start();

private:
    void run();
    void ended(Call& call, const std::optional<Failure>& failure);

    Core& core_;
    EncodeOptions options_;
    const PromptNames& preferred_;
    std::shared_ptr<Deadline> deadline_;
    Texts texts_;
    Done done_;
    std::shared_ptr<Reading> reading_;
    int changes_ = 0;  // of the model
};

}  // namespace sentriton
