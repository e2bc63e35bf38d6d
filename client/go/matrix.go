package sentriton

import (
	"fmt"
	"iter"
)

// Matrix is rows of float32 of one length, in one contiguous slice. The zero value has no rows.
type Matrix struct {
	values  []float32
	rows    int
	columns int
}

// NewMatrix copies rows, all of one length, into a matrix.
func NewMatrix(rows [][]float32) (Matrix, error) {
	if len(rows) == 0 {
		return Matrix{}, nil
	}
	matrix := makeMatrix(len(rows), len(rows[0]))
	for place, row := range rows {
		if len(row) != matrix.columns {
			return Matrix{}, invalidInput("row %d has %d numbers and row 0 has %d; give rows of one length",
				place, len(row), matrix.columns)
		}
		copy(matrix.Row(place), row)
	}
	return matrix, nil
}

func makeMatrix(rows, columns int) Matrix {
	return Matrix{values: make([]float32, rows*columns), rows: rows, columns: columns}
}

// Rows returns the number of rows.
func (m Matrix) Rows() int { return m.rows }

// Columns returns the length of each row.
func (m Matrix) Columns() int { return m.columns }

// Row returns row i as a view: a slice of the matrix's own values.
func (m Matrix) Row(i int) []float32 {
	if i < 0 || i >= m.rows {
		panic(fmt.Sprintf("sentriton: row %d of a matrix of %d rows", i, m.rows))
	}
	return m.values[i*m.columns : (i+1)*m.columns : (i+1)*m.columns]
}

// All returns an iterator over the rows and their numbers.
func (m Matrix) All() iter.Seq2[int, []float32] {
	return func(yield func(int, []float32) bool) {
		for i := range m.rows {
			if !yield(i, m.Row(i)) {
				return
			}
		}
	}
}

// Values returns all values, row by row: the matrix's own slice of Rows() * Columns() numbers.
func (m Matrix) Values() []float32 { return m.values }
