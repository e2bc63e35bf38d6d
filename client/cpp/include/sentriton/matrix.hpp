#pragma once

#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

namespace sentriton {

/// A row of a matrix: a view, valid as long as the matrix.
class Row {
public:
    Row(const float* begin, std::size_t size) : begin_(begin), size_(size) {}

    const float* begin() const { return begin_; }
    const float* end() const { return begin_ + size_; }
    const float* data() const { return begin_; }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    float operator[](std::size_t place) const { return begin_[place]; }

private:
    const float* begin_;
    std::size_t size_;
};

/// Rows of float32 of one length, in one contiguous buffer.
class Matrix {
public:
    /// Iterates over the rows.
    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Row;
        using difference_type = std::ptrdiff_t;
        using pointer = const Row*;
        using reference = Row;

        Iterator(const Matrix* matrix, std::size_t place) : matrix_(matrix), place_(place) {}

        Row operator*() const { return (*matrix_)[place_]; }
        Iterator& operator++() {
            ++place_;
            return *this;
        }
        Iterator operator++(int) { return {matrix_, place_++}; }
        bool operator==(const Iterator& other) const { return place_ == other.place_; }
        bool operator!=(const Iterator& other) const { return place_ != other.place_; }

    private:
        const Matrix* matrix_;
        std::size_t place_;
    };

    /// A matrix without rows.
    Matrix() = default;

    /// A matrix of zeros.
    Matrix(std::size_t rows, std::size_t columns) : values_(rows * columns), rows_(rows), columns_(columns) {}

    /// Copies rows, all of one length. InvalidInput if a length differs.
    static Matrix from_rows(const std::vector<std::vector<float>>& rows);

    std::size_t rows() const { return rows_; }
    std::size_t columns() const { return columns_; }

    /// Row `i`, without a check of `i`.
    Row operator[](std::size_t i) const { return {values_.data() + i * columns_, columns_}; }

    /// Row `i`. std::out_of_range if the matrix has no such row.
    Row row(std::size_t i) const;

    Iterator begin() const { return {this, 0}; }
    Iterator end() const { return {this, rows_}; }

    /// All values, row by row.
    const std::vector<float>& values() const& { return values_; }
    std::vector<float> values() && { return std::move(values_); }

    /// The first value of the one buffer.
    const float* data() const { return values_.data(); }
    float* data() { return values_.data(); }

private:
    std::vector<float> values_;
    std::size_t rows_ = 0;
    std::size_t columns_ = 0;
};

}  // namespace sentriton
