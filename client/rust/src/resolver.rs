use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, Question, TYPE};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;
use tonic::Status;

use crate::errors::Error;
use crate::settings::Address;

const NAME_SERVER_PORT: u16 = 53;
const NAME_SERVER_TRIES: usize = 3;
const NAME_SERVER_PATIENCE: Duration = Duration::from_secs(1);
const LARGEST_ANSWER: usize = 4096;

/// Finds the servers of an address, by the system's resolver or by the name server in the address.
pub(crate) struct Resolver {
    host: String,
    port: u16,
    name_server: Option<(String, u16)>,
}

impl Resolver {
    pub(crate) fn new(address: &Address) -> Result<Self, Error> {
        let name_server = address.name_server.as_deref().map(|server| {
            let (host, port) = match server.parse::<IpAddr>() {
                Ok(_) => (server, None),
                Err(_) => server.rsplit_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = port.map_or(Ok(NAME_SERVER_PORT), str::parse);
            port.map(|port| (host.to_owned(), port)).map_err(|_| {
                let text = &address.text;
                Error::invalid_input(format!(
                    "url has the name server {server} in {text}; give dns://server:53/host:port"
                ))
            })
        });
        Ok(Self { host: address.host.clone(), port: address.port, name_server: name_server.transpose()? })
    }

    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, Status> {
        let found = match (self.host.parse::<IpAddr>(), &self.name_server) {
            (Ok(address), _) => Ok(vec![SocketAddr::new(address, self.port)]),
            (Err(_), None) => {
                let looked_up = lookup_host((self.host.as_str(), self.port)).await;
                looked_up.map(Iterator::collect).map_err(|failure| failure.to_string())
            }
            (Err(_), Some(server)) => self.ask(server).await,
        };
        match found {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            Ok(_) => Err(Status::unavailable(format!("the name {} has no address", self.host))),
            Err(reason) => Err(Status::unavailable(format!("cannot look up the name {}: {reason}", self.host))),
        }
    }

    /// Asks the name server for the addresses of both families.
    async fn ask(&self, (host, port): &(String, u16)) -> Result<Vec<SocketAddr>, String> {
        let server = lookup_host((host.as_str(), *port)).await.map_err(|failure| failure.to_string())?.next();
        let server = server.ok_or_else(|| format!("the name server {host} has no address"))?;
        let (fourth, sixth) = tokio::join!(self.ask_for(server, TYPE::A), self.ask_for(server, TYPE::AAAA));
        match (fourth, sixth) {
            (Err(reason), Err(_)) => Err(reason),
            (fourth, sixth) => Ok([fourth.unwrap_or_default(), sixth.unwrap_or_default()].concat()),
        }
    }

    async fn ask_for(&self, server: SocketAddr, kind: TYPE) -> Result<Vec<SocketAddr>, String> {
        let mut reason = String::new();
        for _ in 0..NAME_SERVER_TRIES {
            match timeout(NAME_SERVER_PATIENCE, self.ask_once(server, kind)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(failure)) => reason = failure,
                Err(_) => reason = format!("the name server {server} did not answer"),
            }
        }
        Err(reason)
    }

    async fn ask_once(&self, server: SocketAddr, kind: TYPE) -> Result<Vec<SocketAddr>, String> {
        let number = fastrand::u16(..);
        let mut question = Packet::new_query(number);
        question.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
        let name = Name::new(&self.host).map_err(|failure| failure.to_string())?;
        question.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
        let message = question.build_bytes_vec().map_err(|failure| failure.to_string())?;
        let own = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own).await.map_err(|failure| failure.to_string())?;
        socket.connect(server).await.map_err(|failure| failure.to_string())?;
        socket.send(&message).await.map_err(|failure| failure.to_string())?;
        let mut buffer = vec![0; LARGEST_ANSWER];
        loop {
            let size = socket.recv(&mut buffer).await.map_err(|failure| failure.to_string())?;
            let answer = Packet::parse(&buffer[..size]).map_err(|failure| failure.to_string())?;
            if answer.id() == number {
                return Ok(answer.answers.iter().filter_map(|record| self.address(&record.rdata)).collect());
            }
        }
    }

    fn address(&self, data: &RData<'_>) -> Option<SocketAddr> {
        let address = match data {
            RData::A(found) => IpAddr::from(found.address.to_be_bytes()),
            RData::AAAA(found) => IpAddr::from(found.address.to_be_bytes()),
            _ => return None,
        };
        Some(SocketAddr::new(address, self.port))
    }
}
