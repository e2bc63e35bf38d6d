// Prints sentences by their similarity to the first: rank QUERY SENTENCE...
//
// The server is $SENTRITON_URL, or localhost:8001.

#include <sentriton/sentriton.hpp>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

namespace {

void rank(const std::string& query, const std::vector<std::string>& sentences) {
    const sentriton::SentenceEncoder encoder;
    const auto queries = encoder.encode_query({query});
    const auto documents = encoder.encode_document(sentences);
    const auto scores = encoder.similarity(queries, documents);
    std::vector<std::size_t> order(sentences.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[0][a] > scores[0][b]; });
    for (const auto place : order) {
        std::printf("%.3f %s\n", scores[0][place], sentences[place].c_str());
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 3) {
        std::fprintf(stderr, "usage: rank QUERY SENTENCE...\n");
        return 1;
    }
    try {
        rank(arguments[1], std::vector<std::string>(arguments + 2, arguments + count));
    } catch (const sentriton::SentritonError& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
