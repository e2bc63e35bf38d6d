#pragma once

#include "sentriton/manifest.hpp"
#include "sentriton/matrix.hpp"

namespace sentriton {

/// Scores every row of the first against every row of the second: [n, d] and [m, d] to [n, m]. InvalidInput if d
/// differs.
Matrix score_matrix(Similarity similarity, const Matrix& first, const Matrix& second);

double cosine(Row a, Row b);
double length(Row row);

}  // namespace sentriton
