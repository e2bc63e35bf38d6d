#include "member.hpp"

#include <algorithm>
#include <numeric>

#include "arguments.hpp"
#include "core.hpp"
#include "joiner.hpp"
#include "protocol.hpp"

namespace sentriton {

namespace {

constexpr std::size_t most_joined = 8;  // sentences of a call that shares requests
// Of UTF-8: the server treats more text as bulk work, which would delay queries.
constexpr std::size_t bytes_per_joined_request = 1 << 14;

}  // namespace

std::shared_ptr<Member> make_member(Core& core, const std::shared_ptr<Call>& call) {
    const std::size_t count = call->texts.views.size();
    if (count == 0 || count > most_joined || count >= call->max_rows) {
        return nullptr;
    }
    auto one = std::make_shared<Member>(core, call);
    const std::size_t of_prompt = count_characters(call->prompt, "prompt");
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t characters = of_prompt + call->texts.characters[i];
        push_element(one->texts, call->prompt, call->texts.views[i]);
        one->characters += characters;
        one->tokens += std::min(characters + special_tokens, static_cast<std::size_t>(call->manifest->max_seq_length));
        one->bytes += call->prompt.size() + call->texts.views[i].size();
    }
    const bool exceeds = one->bytes > bytes_per_joined_request || (count > 1 && one->tokens > tokens_per_request);
    return exceeds ? nullptr : one;
}

void Member::woken(Time now) {
    if (over) {
        return;
    }
    Deadline& deadline = *call->deadline;
    deadline.looked(now);
    if (!deadline.over(now)) {
        return core_.loop.wake(*this, std::min(deadline.time(), now + look_every));
    }
    const std::optional<Failure> last = core_.joiner->leave(*this);
    over = true;
    const Failure failure = last ? *last : deadline.exceeded(core_.endpoints.url());
    call->done(*call, failure.with_progress(0, rows()));
}

void Member::closed() {
    if (!over) {
        over = true;
        call->done(*call, closed_failure());
    }
}

void Member::take(const std::optional<Failure>& failure) {
    if (over) {
        return;
    }
    over = true;
    core_.loop.forget(*this);
    call->done(*call, failure ? std::optional(failure->with_progress(0, rows())) : failure);
}

std::optional<Failure> Member::answered(std::string_view raw) {
    std::vector<std::size_t> indices(rows());
    std::iota(indices.begin(), indices.end(), std::size_t{0});
    return call->fill_all(indices, raw);
}

bool Crowd::add(const std::shared_ptr<Member>& one, Time now) {
    Deadline& deadline = *one->call->deadline;
    deadline.looked(now);  // after a suspension, this may come before the member's own look
    const Duration left = deadline.time() - now;
    const Duration shortest = members_.empty() ? left : std::min(shortest_, left);
    const Duration longest = members_.empty() ? left : std::max(longest_, left);
    if (!members_.empty()) {
        const Call& first = *members_.front()->call;
        const bool fits = !one->alone && !members_.front()->alone &&
                          one->call->manifest->fingerprint == first.manifest->fingerprint &&
                          one->call->max_rows == first.max_rows && longest <= 2 * shortest &&
                          rows_ + one->rows() <= first.max_rows && tokens_ + one->tokens <= tokens_per_request &&
                          bytes_ + one->bytes <= bytes_per_joined_request;
        if (!fits) {
            return false;
        }
    }
    members_.push_back(one);
    rows_ += one->rows();
    tokens_ += one->tokens;
    bytes_ += one->bytes;
    shortest_ = shortest;
    longest_ = longest;
    return true;
}

}  // namespace sentriton
