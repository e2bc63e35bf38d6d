use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, ResourceRecord, TYPE};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::body::Body;
use tower_service::Service;

use crate::channel::{Channel, Until};
use crate::errors::Error;
use crate::tests::checks::{assert_error, assert_words, open};
use crate::tests::small_server::{SmallServer, words};

/// A name server that knows two addresses of "two.test", and none of another name.
async fn start_name_server(tasks: &mut JoinSet<()>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tasks.spawn(async move {
        let mut buffer = vec![0; 512];
        loop {
            let (size, client) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Packet::parse(&buffer[..size]).unwrap();
            let question = &query.questions[0];
            let mut answer = Packet::new_reply(query.id());
            answer.set_flags(PacketFlag::RECURSION_AVAILABLE);
            answer.questions.push(question.clone());
            if question.qname.to_string() == "two.test" && question.qtype == QTYPE::TYPE(TYPE::A) {
                for last in 1..=2 {
                    let data = RData::A(A::from(Ipv4Addr::new(127, 0, 0, last)));
                    answer.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data));
                }
            }
            socket.send_to(&answer.build_bytes_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_servers_of_one_name_take_turns_and_stand_in_for_each_other() {
    let mut tasks = JoinSet::new();
    let name_server = start_name_server(&mut tasks).await;
    let one = SmallServer::start().await;
    let port = one.address.parse::<SocketAddr>().unwrap().port();
    let other = SmallServer::start_at(&format!("127.0.0.2:{port}"), |stream| async { Some(stream) }).await;
    let encoder = open(&format!("dns://{name_server}/two.test:{port}"));
    for _ in 0..40 {
        encoder.encode_one("w1").batch_size(1).await.unwrap();
    }
    let counts = (one.received(), other.received());
    assert!(counts.0.min(counts.1) >= 15, "{counts:?}"); // the first ones go to the one that is connected first
    one.stop().await;
    assert_words(encoder.encode(&words(40)).batch_size(1).await, &words(40));
    one.start_again().await;
    tokio::time::sleep(Duration::from_millis(300)).await; // longer than the pause between attempts
    let before = one.received();
    for _ in 0..40 {
        encoder.encode_one("w1").batch_size(1).await.unwrap();
    }
    assert!(one.received() - before >= 10, "{} requests", one.received() - before);
    let unknown = open(&format!("dns://{name_server}/none.test:{port}"));
    let says = ["no answer from dns://", "the name none.test has no address"];
    assert_error(unknown.info().await, Error::ServerUnavailable, &says);
}

#[tokio::test]
async fn requests_have_the_headers_and_parameters_of_the_protocol() {
    let server = SmallServer::start().await;
    open(&server.address).encode_one("w1").await.unwrap();
    let knobs = server.knobs();
    let header = |name: &str| knobs.headers[0].get(name).map(|value| value.to_str().unwrap().to_owned());
    assert!(header("user-agent").unwrap().starts_with("sentriton-rust/"));
    assert!(header("grpc-timeout").is_some());
    assert_eq!(header("triton-grpc-protocol-access-key"), None);
    assert!(knobs.timeouts[0] > Duration::from_secs(50) && knobs.timeouts[0] <= Duration::from_secs(60));
}

#[tokio::test]
async fn no_request_is_sent_whose_connection_took_its_time() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    let mut channel = Channel::new(&encoder.settings().addresses[0], None, None).unwrap();
    let mut request = http::Request::new(Body::empty());
    request.extensions_mut().insert(Until(Instant::now()));
    let status = channel.call(request).await.map(|_| ()).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}
