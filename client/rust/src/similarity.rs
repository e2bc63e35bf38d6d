use std::fmt;

use crate::errors::Error;
use crate::matrix::Matrix;

/// A model's function of two embeddings. Higher is more similar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Similarity {
    /// The cosine of the angle; 0 with a row of zeros.
    Cosine,
    /// The dot product.
    Dot,
    /// The negative euclidean distance.
    Euclidean,
    /// The negative manhattan distance.
    Manhattan,
}

impl Similarity {
    const ALL: [Self; 4] = [Self::Cosine, Self::Dot, Self::Euclidean, Self::Manhattan];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }

    /// The name in sentence-transformers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }

    fn score(self, a: &[f32], b: &[f32]) -> f64 {
        match self {
            Self::Cosine => cosine(a, b),
            Self::Dot => dot(a, b),
            Self::Euclidean => -differences(a, b).map(|each| each * each).sum::<f64>().sqrt(),
            Self::Manhattan => -differences(a, b).map(f64::abs).sum::<f64>(),
        }
    }
}

impl fmt::Display for Similarity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Scores every row of the first against every row of the second: [n, d] and [m, d] to [n, m].
pub(crate) fn score_matrix(similarity: Similarity, first: &Matrix, second: &Matrix) -> Result<Matrix, Error> {
    if first.rows() > 0 && second.rows() > 0 && first.columns() != second.columns() {
        return Err(Error::invalid_input(format!(
            "embeddings of {} and {} dimensions cannot be compared: these must be equal; use one model and one truncate_dim \
             for both",
            first.columns(),
            second.columns()
        )));
    }
    let mut result = Matrix::zeros(first.rows(), second.rows());
    for (i, a) in first.iter().enumerate() {
        for (score, b) in result.row_mut(i).iter_mut().zip(second) {
            *score = to_f32(similarity.score(a, b));
        }
    }
    Ok(result)
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (length(a).max(1e-12) * length(b).max(1e-12))
}

pub(crate) fn length(row: &[f32]) -> f64 {
    dot(row, row).sqrt()
}

#[expect(clippy::cast_possible_truncation, reason = "float32 is the type of embeddings and scores")]
pub(crate) fn to_f32(value: f64) -> f32 {
    value as f32
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn differences(a: &[f32], b: &[f32]) -> impl Iterator<Item = f64> {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b))
}
