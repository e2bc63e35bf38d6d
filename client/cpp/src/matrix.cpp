#include "sentriton/matrix.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "failure.hpp"

namespace sentriton {

Matrix Matrix::from_rows(const std::vector<std::vector<float>>& rows) {
    Matrix matrix(rows.size(), rows.empty() ? 0 : rows.front().size());
    float* place = matrix.data();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (rows[i].size() != matrix.columns()) {
            raise(invalid_input("row " + std::to_string(i) + " has " + std::to_string(rows[i].size()) +
                                " numbers and row 0 has " + std::to_string(matrix.columns()) +
                                "; give rows of one length"));
        }
        place = std::copy(rows[i].begin(), rows[i].end(), place);
    }
    return matrix;
}

Row Matrix::row(std::size_t i) const {
    if (i >= rows_) {
        throw std::out_of_range("row " + std::to_string(i) + " of a matrix of " + std::to_string(rows_) + " rows");
    }
    return (*this)[i];
}

}  // namespace sentriton
