use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::similarity::Similarity;

/// A server's description of its model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The model's name.
    pub name: String,
    /// The sha256 of weights, tokenizer, modules, prompts and `max_seq_length`. It is the same at every precision and on
    /// every device.
    pub fingerprint: String,
    /// The length of a sentence's vector.
    pub dimension: usize,
    /// The largest number of tokens of a sentence, special ones included. The server truncates longer sentences.
    pub max_seq_length: usize,
    /// The size of the vocabulary.
    pub vocab_size: usize,
    /// The largest number of rows of one request.
    pub max_batch_size: usize,
    /// The pooling modes.
    pub pooling: Vec<String>,
    /// Whether a prompt's tokens are pooled too.
    pub include_prompt: bool,
    /// The model's prompts, texts before sentences, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt of calls without a prompt.
    pub default_prompt_name: Option<String>,
    /// The model's similarity function.
    pub similarity: Similarity,
    /// The precision of the computation.
    pub precision: String,
    /// The device of the computation.
    pub device: String,
    /// The smallest cosine to sentence-transformers' vectors that the precision allows.
    pub min_cosine: f64,
    /// The result of the comparison with sentence-transformers at the export.
    pub parity: BTreeMap<String, f64>,
    /// The sha256 of the model's files.
    pub files: BTreeMap<String, String>,
    /// The version of the server.
    pub sentriton_version: String,
}

const LARGEST_DIMENSION: u64 = 65_536; // far above any encoder's
const LARGEST_NUMBER: u64 = i32::MAX as u64;
const FIELDS: [&str; 17] = [
    "name",
    "fingerprint",
    "dimension",
    "max_seq_length",
    "vocab_size",
    "max_batch_size",
    "pooling",
    "include_prompt",
    "prompts",
    "default_prompt_name",
    "similarity",
    "precision",
    "device",
    "min_cosine",
    "parity",
    "files",
    "sentriton_version",
];

impl Manifest {
    /// Reads manifest.json; the error names the missing or wrong field. Fields of a newer server that this client does not
    /// know are ignored.
    pub(crate) fn read(content: &[u8]) -> Result<Self, String> {
        let values = match serde_json::from_slice(content).map_err(|wrong| wrong.to_string())? {
            Value::Object(values) => Fields(values),
            other => return Err(format!("the manifest is {}; expected an object", shown(&other))),
        };
        let missing: Vec<&str> = FIELDS.into_iter().filter(|name| !values.0.contains_key(*name)).collect();
        if !missing.is_empty() {
            return Err(format!("the manifest lacks {}", missing.join(", ")));
        }
        let manifest = Self {
            name: values.text("name")?,
            fingerprint: values.text("fingerprint")?,
            dimension: values.whole("dimension", LARGEST_DIMENSION)?,
            max_seq_length: values.whole("max_seq_length", LARGEST_NUMBER)?,
            vocab_size: values.whole("vocab_size", LARGEST_NUMBER)?,
            max_batch_size: values.whole("max_batch_size", LARGEST_NUMBER)?,
            pooling: values
                .get("pooling", "a list of strings", |value| value.as_array()?.iter().map(filled).collect())?,
            include_prompt: values.get("include_prompt", "true or false", Value::as_bool)?,
            prompts: values
                .object("prompts", "an object of strings", &[], |value| value.as_str().map(str::to_owned))?,
            default_prompt_name: values.get("default_prompt_name", "a string or null", |value| match value {
                Value::Null => Some(None),
                other => other.as_str().map(|name| Some(name.to_owned())),
            })?,
            similarity: values.get("similarity", "one of cosine, dot, euclidean, manhattan", |value| {
                Similarity::named(value.as_str()?)
            })?,
            precision: values.text("precision")?,
            device: values.text("device")?,
            min_cosine: values.get("min_cosine", "a number from -1 to 1", |value| {
                value.as_f64().filter(|number| number.abs() <= 1.0)
            })?,
            parity: values.object(
                "parity",
                "an object of numbers with min_cosine and sentences",
                &["min_cosine", "sentences"],
                Value::as_f64,
            )?,
            files: values.object(
                "files",
                "an object of sha256 sums with that of tokenizer.json",
                &["tokenizer.json"],
                sha256,
            )?,
            sentriton_version: values.text("sentriton_version")?,
        };
        match manifest.default_prompt_name.as_ref().filter(|name| !manifest.prompts.contains_key(*name)) {
            Some(name) => Err(format!("the manifest's default_prompt_name is {name:?}; expected one of its prompts")),
            None => Ok(manifest),
        }
    }
}

/// The fields of manifest.json. Each method reads one; its error has the allowed values in words.
struct Fields(Map<String, Value>);

impl Fields {
    fn get<T>(&self, name: &str, allowed: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T, String> {
        let value = &self.0[name];
        read(value).ok_or_else(|| format!("the manifest's {name} is {}; expected {allowed}", shown(value)))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        self.get(name, "a text", filled)
    }

    fn whole(&self, name: &str, most: u64) -> Result<usize, String> {
        self.get(name, &format!("a whole number from 1 to {most}"), |value| {
            let number = value.as_u64().filter(|number| (1..=most).contains(number))?;
            usize::try_from(number).ok()
        })
    }

    fn object<T>(
        &self,
        name: &str,
        allowed: &str,
        keys: &[&str],
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<BTreeMap<String, T>, String> {
        self.get(name, allowed, |value| {
            let found = value.as_object()?;
            let complete = keys.iter().all(|key| found.contains_key(*key));
            complete.then(|| found.iter().map(|(key, each)| Some((key.clone(), read(each)?))).collect())?
        })
    }
}

/// A text that is not empty.
fn filled(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn sha256(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_sum = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_sum.then(|| text.to_owned())
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}
