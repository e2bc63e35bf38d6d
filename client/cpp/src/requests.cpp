#include "requests.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "arguments.hpp"
#include "protocol.hpp"

namespace sentriton {

Texts check_texts(const std::vector<std::string_view>& sentences, bool copies) {
    Texts texts;
    if (copies) {
        texts.owned.assign(sentences.begin(), sentences.end());
        texts.views.assign(texts.owned.begin(), texts.owned.end());
    } else {
        texts.views = sentences;
    }
    texts.characters.reserve(sentences.size());
    for (std::size_t i = 0; i < sentences.size(); ++i) {
        texts.characters.push_back(count_characters(texts.views[i], "sentences[" + std::to_string(i) + "]"));
    }
    texts.order.resize(sentences.size());
    std::iota(texts.order.begin(), texts.order.end(), std::size_t{0});
    std::stable_sort(texts.order.begin(), texts.order.end(),
                     [&](std::size_t a, std::size_t b) { return texts.characters[a] > texts.characters[b]; });
    return texts;
}

Plan::Plan(const Texts& texts, Limits limits)
    : texts_(texts), limits_(std::move(limits)), prompt_characters_(count_characters(limits_.prompt, "prompt")) {}

std::shared_ptr<RequestRows> Plan::next() {
    auto rows = std::make_shared<RequestRows>();
    std::size_t tokens = 0;
    std::size_t bytes = 0;
    for (; place_ < texts_.order.size(); ++place_) {
        const std::size_t index = texts_.order[place_];
        const std::size_t characters = prompt_characters_ + texts_.characters[index];
        const std::size_t row_bytes = limits_.prompt.size() + texts_.views[index].size();
        tokens += std::min(characters + special_tokens, limits_.max_seq_length);
        bytes += row_bytes;
        const bool full =
            rows->indices.size() == limits_.max_rows || tokens > tokens_per_request || bytes > bytes_per_request;
        if (full && !rows->indices.empty()) {
            break;
        }
        rows->indices.push_back(index);
        rows->characters += characters;
        push_element(rows->texts, limits_.prompt, texts_.views[index]);
    }
    return rows->indices.empty() ? nullptr : rows;
}

}  // namespace sentriton
