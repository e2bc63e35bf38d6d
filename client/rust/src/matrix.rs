use std::ops::Index;
use std::slice::ChunksExact;

use crate::errors::Error;

/// Rows of float32 of one length, in one contiguous `Vec<f32>`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    values: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Copies rows, all of one length, into a matrix.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if the lengths differ.
    pub fn from_rows<R: AsRef<[f32]>>(rows: &[R]) -> Result<Self, Error> {
        let columns = rows.first().map_or(0, |row| row.as_ref().len());
        let mut values = Vec::with_capacity(rows.len() * columns);
        for (place, row) in rows.iter().enumerate() {
            let row = row.as_ref();
            if row.len() != columns {
                let size = row.len();
                return Err(Error::invalid_input(format!(
                    "row {place} has {size} numbers and row 0 has {columns}; give rows of one length"
                )));
            }
            values.extend_from_slice(row);
        }
        Ok(Self { values, rows: rows.len(), columns })
    }

    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self { values: vec![0.0; rows * columns], rows, columns }
    }

    pub(crate) fn row_mut(&mut self, place: usize) -> &mut [f32] {
        &mut self.values[place * self.columns..(place + 1) * self.columns]
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The length of each row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A view of one row. `matrix[place]` is the same.
    ///
    /// # Panics
    ///
    /// If the matrix has no such row.
    #[must_use]
    pub fn row(&self, place: usize) -> &[f32] {
        assert!(place < self.rows, "row {place} of a matrix of {} rows", self.rows);
        &self.values[place * self.columns..(place + 1) * self.columns]
    }

    /// Views of the rows, in order.
    pub fn iter(&self) -> ChunksExact<'_, f32> {
        self.values.chunks_exact(self.columns.max(1))
    }

    /// All values, row by row.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// All values, row by row, without a copy.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }
}

impl Index<usize> for Matrix {
    type Output = [f32];

    fn index(&self, place: usize) -> &[f32] {
        self.row(place)
    }
}

impl<'a> IntoIterator for &'a Matrix {
    type Item = &'a [f32];
    type IntoIter = ChunksExact<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
