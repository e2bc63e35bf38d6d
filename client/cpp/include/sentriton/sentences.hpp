#pragma once

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace sentriton {

/// A view of sentences in their order: of a vector, an array, a deque or a list in braces whose elements are texts. It
/// is the argument of a call, and the texts must live until the call ends. A container without an order, such as a set
/// or a map, does not convert to it. Nor does a single text.
class Sentences {
public:
    Sentences(std::initializer_list<std::string_view> texts) : texts_(texts) {}

    template <typename Range, typename Iterator = decltype(std::begin(std::declval<const Range&>())),
              typename = std::enable_if_t<
                  std::is_base_of_v<std::random_access_iterator_tag,
                                    typename std::iterator_traits<Iterator>::iterator_category> &&
                  std::is_convertible_v<typename std::iterator_traits<Iterator>::reference, std::string_view>>>
    Sentences(const Range& texts) : texts_(std::begin(texts), std::end(texts)) {}

    std::size_t size() const { return texts_.size(); }
    const std::vector<std::string_view>& texts() const { return texts_; }

private:
    std::vector<std::string_view> texts_;
};

}  // namespace sentriton
