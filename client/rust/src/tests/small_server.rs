use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::inference::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use crate::inference::infer_parameter::ParameterChoice;
use crate::inference::model_infer_response::InferOutputTensor;
use crate::inference::{ModelInferRequest, ModelInferResponse};

pub(crate) const DIMENSION: usize = 4;

/// The sentences of a small server.
pub(crate) fn words(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("w{number}")).collect()
}

/// A small server's answer: the word's number in every dimension, or the length of another text.
pub(crate) fn vector_of(text: &str) -> [f32; DIMENSION] {
    let number = text.rsplit_once('w').and_then(|(_, digits)| digits.parse::<u16>().ok());
    [number.map_or(text.len() as f32, f32::from); DIMENSION]
}

pub(crate) fn small_manifest() -> Value {
    json!({
        "name": "small", "fingerprint": "f".repeat(64), "dimension": DIMENSION, "max_seq_length": 32, "vocab_size": 4000,
        "max_batch_size": 64, "pooling": ["mean"], "include_prompt": true, "prompts": {}, "default_prompt_name": null,
        "similarity": "cosine", "precision": "fp32", "device": "cpu", "min_cosine": 0.99,
        "parity": {"sentences": 3, "min_cosine": 1}, "files": {"tokenizer.json": "a".repeat(64)},
        "sentriton_version": "0.2.0",
    })
}

type Change = Box<dyn Fn(&mut ModelInferResponse) + Send>;
type Refuse = Box<dyn FnMut(usize, &[String]) -> Option<Status> + Send>;

/// The behaviour of a small server, and its observations.
#[derive(Default)]
pub(crate) struct Knobs {
    pub(crate) assets: HashMap<String, String>,
    pub(crate) change: Option<Change>,
    pub(crate) change_asset: Option<Change>,
    pub(crate) refuse: Option<Refuse>,
    pub(crate) refuse_asset: Option<Status>,
    pub(crate) silent_from: Option<usize>, // number of a request
    pub(crate) silent: bool,
    pub(crate) delay: Duration,
    pub(crate) received: usize, // requests for embeddings
    pub(crate) asked: usize,    // requests for assets
    pub(crate) in_flight: usize,
    pub(crate) at_once: usize, // the most at a time
    pub(crate) cancelled: usize,
    pub(crate) rows: Vec<usize>, // of each request
    pub(crate) texts: Vec<String>,
    pub(crate) timeouts: Vec<Duration>,
    pub(crate) headers: Vec<MetadataMap>,
}

/// Speaks the protocol and computes nothing: it answers right, wrongly, late or not at all.
pub(crate) struct SmallServer {
    pub(crate) address: String,
    knobs: Arc<Mutex<Knobs>>,
    serving: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<Knobs>>);

impl SmallServer {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0", |stream| async { Some(stream) }).await
    }

    /// A server whose connections are made by `accept`.
    pub(crate) async fn start_at<S, F>(
        address: &str,
        accept: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let mut knobs = Knobs::default();
        knobs.assets.insert("manifest.json".into(), small_manifest().to_string());
        knobs.assets.insert("golden.json".into(), "{}".into());
        let server = Self { address: String::new(), knobs: Arc::new(Mutex::new(knobs)), serving: Mutex::default() };
        let address = server.serve(address.parse().unwrap(), accept).await;
        Self { address: address.to_string(), ..server }
    }

    async fn serve<S, F>(
        &self,
        address: SocketAddr,
        accept: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
    ) -> SocketAddr
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service(Arc::clone(&self.knobs));
        self.serving.lock().unwrap().spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let accepted = accept(stream);
                let service = TowerToHyperService::new(GrpcInferenceServiceServer::new(service.clone()));
                connections.spawn(async move {
                    if let Some(stream) = accepted.await {
                        let served =
                            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                        let _ = served.await; // the client may break it off
                    }
                });
            }
        });
        address
    }

    pub(crate) async fn stop(&self) {
        let serving = std::mem::take(&mut *self.serving.lock().unwrap());
        let mut serving = serving;
        serving.shutdown().await;
    }

    pub(crate) async fn start_again(&self) {
        self.serve(self.address.parse().unwrap(), |stream| async { Some(stream) }).await;
    }

    pub(crate) fn knobs(&self) -> MutexGuard<'_, Knobs> {
        self.knobs.lock().unwrap()
    }

    pub(crate) fn received(&self) -> usize {
        self.knobs().received
    }

    pub(crate) fn refuse(&self, refuse: impl FnMut(usize, &[String]) -> Option<Status> + Send + 'static) {
        self.knobs().refuse = Some(Box::new(refuse));
    }

    /// The same refusal to the first requests.
    pub(crate) fn refuse_first(&self, count: usize, status: Status) {
        let first = self.received();
        self.refuse(move |number, _| (number < first + count).then(|| status.clone()));
    }

    pub(crate) fn change(&self, change: impl Fn(&mut ModelInferResponse) + Send + 'static) {
        self.knobs().change = Some(Box::new(change));
    }
}

/// Notes the end of a request, also where the client cancelled it.
struct Ending {
    knobs: Arc<Mutex<Knobs>>,
    is_answered: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut knobs = self.knobs.lock().unwrap();
        knobs.in_flight -= 1;
        knobs.cancelled += usize::from(!self.is_answered);
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let headers = request.metadata().clone();
        let request = request.into_inner();
        let texts = elements(&request.raw_input_contents[0]);
        if request.model_name == "assets" {
            let mut ending = self.begin_asset();
            self.wait(Duration::ZERO).await;
            ending.is_answered = true;
            return self.asset(&texts[0]).map(Response::new);
        }
        let (mut ending, refusal, delay) = self.begin(&request, &texts, headers);
        self.wait(delay).await;
        ending.is_answered = true;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let mut response = embeddings_of(&texts);
        if let Some(change) = &self.0.lock().unwrap().change {
            change(&mut response);
        }
        Ok(Response::new(response))
    }
}

impl Service {
    fn begin_asset(&self) -> Ending {
        let mut knobs = self.0.lock().unwrap();
        knobs.asked += 1;
        knobs.in_flight += 1;
        Ending { knobs: Arc::clone(&self.0), is_answered: false }
    }

    fn begin(
        &self,
        request: &ModelInferRequest,
        texts: &[String],
        headers: MetadataMap,
    ) -> (Ending, Option<Status>, Duration) {
        let mut knobs = self.0.lock().unwrap();
        let number = knobs.received;
        knobs.received += 1;
        knobs.in_flight += 1;
        knobs.at_once = knobs.at_once.max(knobs.in_flight);
        knobs.rows.push(texts.len());
        knobs.texts.push(texts.join(" "));
        knobs.headers.push(headers);
        if let Some(ParameterChoice::Int64Param(time)) =
            request.parameters.get("timeout").and_then(|given| given.parameter_choice.clone())
        {
            knobs.timeouts.push(Duration::from_micros(time.cast_unsigned()));
        }
        knobs.silent |= knobs.silent_from == Some(number);
        let refusal = knobs.refuse.as_mut().and_then(|refuse| refuse(number, texts));
        (Ending { knobs: Arc::clone(&self.0), is_answered: false }, refusal, knobs.delay)
    }

    async fn wait(&self, delay: Duration) {
        let end = Instant::now() + delay;
        while Instant::now() < end || self.0.lock().unwrap().silent {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn asset(&self, name: &str) -> Result<ModelInferResponse, Status> {
        let knobs = self.0.lock().unwrap();
        if let Some(refusal) = &knobs.refuse_asset {
            return Err(refusal.clone());
        }
        let content = &knobs.assets[name];
        let mut raw = u32::try_from(content.len()).unwrap().to_le_bytes().to_vec();
        raw.extend_from_slice(content.as_bytes());
        let mut response = response_of("assets", "content", "BYTES", &[1], raw);
        if let Some(change) = &knobs.change_asset {
            change(&mut response);
        }
        Ok(response)
    }
}

fn embeddings_of(texts: &[String]) -> ModelInferResponse {
    let raw = texts.iter().flat_map(|text| vector_of(text)).flat_map(f32::to_le_bytes).collect();
    response_of("embed_text", "sentence_embedding", "FP32", &[texts.len() as i64, DIMENSION as i64], raw)
}

pub(crate) fn response_of(model: &str, name: &str, datatype: &str, shape: &[i64], raw: Vec<u8>) -> ModelInferResponse {
    let output = InferOutputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        ..InferOutputTensor::default()
    };
    ModelInferResponse {
        model_name: model.into(),
        outputs: vec![output],
        raw_output_contents: vec![raw.into()],
        ..ModelInferResponse::default()
    }
}

fn elements(mut raw: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((size, rest)) = raw.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at(u32::from_le_bytes(*size) as usize);
        texts.push(String::from_utf8_lossy(text).into_owned());
        raw = rest;
    }
    texts
}
