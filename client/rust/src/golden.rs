use serde_json::Value;

use crate::matrix::Matrix;
use crate::similarity::to_f32;

/// golden.json of a server: sentences with the vectors of sentence-transformers.
pub(crate) struct Golden {
    pub(crate) sentences: Vec<String>,
    pub(crate) embeddings: Matrix,
}

impl Golden {
    /// Refuses content other than sentences, at least one, each with a vector of `dimension` finite numbers.
    pub(crate) fn read(content: &[u8], dimension: usize) -> Result<Self, String> {
        let values: Value = serde_json::from_slice(content).map_err(|wrong| wrong.to_string())?;
        let sentences: Vec<String> = values["sentences"]
            .as_array()
            .filter(|list| !list.is_empty())
            .and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect())
            .ok_or("it has no list of sentences")?;
        let count = sentences.len();
        let rows: Option<Vec<Vec<f32>>> = values["sentence_embedding"]
            .as_array()
            .filter(|rows| rows.len() == count)
            .and_then(|rows| rows.iter().map(|row| vector(row, dimension)).collect());
        let embeddings = rows.and_then(|rows| Matrix::from_rows(&rows).ok());
        embeddings
            .map(|embeddings| Self { sentences, embeddings })
            .ok_or_else(|| format!("its sentence_embedding must be finite numbers of shape [{count}, {dimension}]"))
    }
}

fn vector(row: &Value, dimension: usize) -> Option<Vec<f32>> {
    let numbers = row.as_array().filter(|numbers| numbers.len() == dimension)?;
    numbers.iter().map(|number| number.as_f64().map(to_f32).filter(|value| value.is_finite())).collect()
}
