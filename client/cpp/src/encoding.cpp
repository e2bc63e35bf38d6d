#include "encoding.hpp"

#include <utility>

#include "arguments.hpp"
#include "core.hpp"

namespace sentriton {

namespace {

constexpr int model_changes_per_call = 3;  // servers that keep different models are no roll-out

std::shared_ptr<Deadline> deadline_of(const Core& core, const EncodeOptions& options) {
    const auto timeout = options.timeout ? checked_time("timeout", *options.timeout) : core.settings.timeout;
    return std::make_shared<Deadline>(timeout, core.settings.stall_timeout, Clock::now());
}

}  // namespace

Encoding::Encoding(Core& core, const std::vector<std::string_view>& sentences, EncodeOptions options,
                   const PromptNames& preferred, bool copies, Done done)
    : core_(core),
      options_(std::move(options)),
      preferred_(preferred),
      deadline_(deadline_of(core, options_)),
      texts_(check_texts(sentences, copies)),
      done_(std::move(done)) {
    if (options_.batch_size) {
        check_whole("batch_size", *options_.batch_size);
    }
    if (options_.prompt) {
        count_characters(*options_.prompt, "prompt");
    }
}

void Encoding::start() {
    if (!core_.loop.post([self = shared_from_this()] { self->run(); })) {
        done_(closed_failure());
    }
}

void Encoding::run() {
    core_.info.wait(deadline_, [self = shared_from_this()](Result<std::shared_ptr<Reading>> found) {
        if (auto* failure = std::get_if<Failure>(&found)) {
            return self->done_(*failure);
        }
        self->reading_ = std::get<std::shared_ptr<Reading>>(found);
        std::shared_ptr<Call> call;
        try {
            call = make_call(self->reading_->manifest, self->texts_, self->options_, self->preferred_, self->deadline_);
        } catch (const InvalidInput& wrong) {
            return self->done_(invalid_input(wrong.what()));
        }
        call->done = [self](Call& ended, const std::optional<Failure>& failure) { self->ended(ended, failure); };
        sentriton::run(self->core_, call);
    });
}

void Encoding::ended(Call& call, const std::optional<Failure>& failure) {
    if (!failure) {
        return done_(std::move(call.result));
    }
    const bool changed = failure->kind == Kind::contract_mismatch;
    if (!changed || core_.settings.on_model_change != OnModelChange::reload || ++changes_ > model_changes_per_call) {
        return done_(*failure);
    }
    core_.info.forget(reading_);
    run();
}

}  // namespace sentriton
