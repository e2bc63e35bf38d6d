#include "similarity.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "failure.hpp"

namespace sentriton {

namespace {

template <typename Term>
double sum(Row a, Row b, Term term) {
    double total = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        total += term(static_cast<double>(a[i]), static_cast<double>(b[i]));
    }
    return total;
}

double dot(Row a, Row b) {
    return sum(a, b, [](double x, double y) { return x * y; });
}

double score(Similarity similarity, Row a, Row b) {
    switch (similarity) {
        case Similarity::cosine:
            return cosine(a, b);
        case Similarity::dot:
            return dot(a, b);
        case Similarity::euclidean:
            return -std::sqrt(sum(a, b, [](double x, double y) { return (x - y) * (x - y); }));
        case Similarity::manhattan:
            break;
    }
    return -sum(a, b, [](double x, double y) { return std::abs(x - y); });
}

}  // namespace

Matrix score_matrix(Similarity similarity, const Matrix& first, const Matrix& second) {
    if (first.rows() > 0 && second.rows() > 0 && first.columns() != second.columns()) {
        raise(invalid_input(
            "embeddings of " + std::to_string(first.columns()) + " and " + std::to_string(second.columns()) +
            " dimensions cannot be compared: these must be equal; use one model and one truncate_dim for "
            "both"));
    }
    Matrix result(first.rows(), second.rows());
    float* place = result.data();
    for (const Row a : first) {
        for (const Row b : second) {
            *place++ = static_cast<float>(score(similarity, a, b));
        }
    }
    return result;
}

double cosine(Row a, Row b) { return dot(a, b) / (std::max(length(a), 1e-12) * std::max(length(b), 1e-12)); }

double length(Row row) { return std::sqrt(dot(row, row)); }

}  // namespace sentriton
