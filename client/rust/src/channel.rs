use std::error::Error as StdError;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response, header};
use http_body_util::BodyExt;
use http_body_util::combinators::MapErr;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::deadline::LEAST_TIME;
use crate::errors::{CANNOT_CONNECT, Error};
use crate::pool::{Pool, Step, Task};
use crate::resolver::Resolver;
use crate::settings::Address;
use crate::tls::{ServerName, Tls};

const CONNECTING: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("sentriton-rust/", env!("CARGO_PKG_VERSION"));

/// Connections to all servers of one address. Requests take turns among the connected servers, as with gRPC's policy
/// `round_robin`. A clone is the same channel.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    target: Arc<Target>,
}

struct Target {
    resolver: Resolver,
    tls: Option<(Tls, ServerName)>,
}

/// The end of a request's time, an extension of it.
#[derive(Clone, Copy)]
pub(crate) struct Until(pub(crate) Instant);

pub(crate) type Sender = http2::SendRequest<Body>;
type Answer = Response<MapErr<Incoming, fn(hyper::Error) -> Status>>;

impl Channel {
    pub(crate) fn new(address: &Address, server_name: Option<&str>, tls: Option<Tls>) -> Result<Self, Error> {
        let tls = match tls {
            Some(tls) => Some((tls, Tls::server_name(server_name.unwrap_or(&address.host))?)),
            None => None,
        };
        let target = Arc::new(Target { resolver: Resolver::new(address)?, tls });
        Ok(Self(Arc::new(Inner { pool: Pool::new(), target })))
    }

    pub(crate) fn close(&self) {
        self.0.pool.close();
    }

    /// A connection for one request. It waits during connection attempts, and fails at once between them.
    async fn acquire(&self) -> Result<(u64, Sender), Status> {
        let pool = &self.0.pool;
        loop {
            let mut changed = std::pin::pin!(pool.changed.notified());
            changed.as_mut().enable();
            let (step, tasks) = pool.step(Instant::now());
            for task in tasks {
                pool.spawn(Arc::clone(&self.0.target).perform(task));
            }
            match step {
                Step::Ready(connection, sender) => return Ok((connection, sender)),
                Step::Failed(status) => return Err(status),
                Step::Wait => changed.await,
            }
        }
    }

    async fn send(self, mut request: Request<Body>) -> Result<Answer, Status> {
        let (connection, mut sender) = self.acquire().await?;
        // The connection may have taken most of the request's time.
        let until = request.extensions().get::<Until>();
        if until.is_some_and(|until| until.0.saturating_duration_since(Instant::now()) < LEAST_TIME) {
            return Err(late());
        }
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(AGENT));
        match sender.send_request(request).await {
            Ok(answer) => Ok(answer.map(|body| body.map_err(broken as fn(hyper::Error) -> Status))),
            Err(failure) => {
                self.0.pool.broke(connection);
                Err(broken(failure))
            }
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Answer;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Status>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl Target {
    /// Runs the pool's task, and records the outcome there.
    async fn perform(self: Arc<Self>, task: Task) {
        match task {
            Task::Resolve(guard) => guard.resolved(self.resolver.resolve().await, Instant::now()),
            Task::Connect(guard, address) => {
                let connected = timeout(CONNECTING, self.connect(address)).await;
                let outcome = connected.unwrap_or_else(|_| Err(format!("no answer within {CONNECTING:?}")));
                let outcome =
                    outcome.map_err(|reason| Status::unavailable(format!("{CANNOT_CONNECT}{address}: {reason}")));
                guard.connected(outcome, Instant::now());
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<Sender, String> {
        let tcp = TcpStream::connect(address).await.map_err(|failure| chain(&failure))?;
        tcp.set_nodelay(true).map_err(|failure| chain(&failure))?;
        match &self.tls {
            None => handshake(tcp).await,
            Some((tls, name)) => handshake(tls.connect(name, tcp).await.map_err(|failure| chain(&failure))?).await,
        }
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Result<Sender, String> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // Detects a connection that a firewall or a dead node has dropped, before the deadline of a call.
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|failure| chain(&failure))?;
    // It ends with its last sender or with the connection. The requests get the error.
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    Ok(sender)
}

/// The status of a request that has no time left.
pub(crate) fn late() -> Status {
    Status::deadline_exceeded("the request timed out")
}

/// The status of a request whose connection broke.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn broken(failure: hyper::Error) -> Status {
    Status::unavailable(format!("the connection broke: {}", chain(&failure)))
}

/// The messages of an error and its causes, without those that repeat the one before.
fn chain(failure: &(dyn StdError + 'static)) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(each) = cause {
        let words = each.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = each.source();
    }
    text
}
