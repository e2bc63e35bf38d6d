use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tonic::Status;

use crate::connection::ACCESS_HEADER;
use crate::errors::Error;
use crate::tests::checks::{SOON, assert_error, assert_words, built, open};
use crate::tests::small_server::{SmallServer, words};
use crate::{Builder, SentenceEncoder};

/// PEM files of a certificate of localhost and its key.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn write(folder: &Path, name: &str, certificate: &str, key: &KeyPair) -> Self {
        let pair =
            Self { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key.pem")) };
        fs::write(&pair.certificate, certificate).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(&self.certificate).unwrap().map(Result::unwrap).collect()
    }
}

fn parameters(is_ca: IsCa) -> CertificateParams {
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.is_ca = is_ca;
    parameters
}

/// A certificate that is its own authority.
fn self_signed(folder: &Path, name: &str, is_ca: IsCa) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair::write(folder, name, &parameters(is_ca).self_signed(&key).unwrap().pem(), &key)
}

const AUTHORITY: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);

/// A folder that is removed.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sentriton-rust-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A server with a certificate; with `clients`, it wants certificates of that authority. The result has its port.
async fn start_tls(pair: &Pair, clients: Option<&Pair>) -> (SmallServer, String) {
    let provider = Arc::new(ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(clients.chain());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let mut config = config.with_single_cert(pair.chain(), key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let accept = move |stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    };
    let server = SmallServer::start_at("127.0.0.1:0", accept).await;
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    (server, port)
}

fn to(host: &str, port: &str) -> Builder {
    SentenceEncoder::builder().url(format!("{host}:{port}"))
}

#[tokio::test]
async fn tls_right_and_wrong() {
    let folder = Folder::new("tls");
    let (server, stranger) =
        (self_signed(&folder.0, "server", AUTHORITY), self_signed(&folder.0, "stranger", AUTHORITY));
    let authority_key = KeyPair::generate().unwrap();
    let authority = parameters(AUTHORITY).self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(parameters(AUTHORITY), &authority_key);
    let signed = parameters(IsCa::ExplicitNoCa).signed_by(&key, &issuer).unwrap();
    let of_authority = Pair::write(&folder.0, "signed", &signed.pem(), &key);
    let roots = Pair::write(&folder.0, "authority", &authority.pem(), &authority_key).certificate;
    for (pair, trusted) in [(&server, &server.certificate), (&of_authority, &roots)] {
        let (_running, port) = start_tls(pair, None).await;
        for right in [
            to("localhost", &port).root_certificates(trusted),
            to("localhost", &port).root_certificates(trusted).server_name("localhost"),
            to("127.0.0.1", &port).root_certificates(trusted).server_name("localhost"),
        ] {
            assert_words(built(right).unwrap().encode(&words(3)).await, &words(3));
        }
        for (wrong, says) in [
            (to("localhost", &port).root_certificates(&stranger.certificate), ""),
            (to("dns:///localhost", &port).tls(true), "UnknownIssuer"),
            (to("127.0.0.1", &port).root_certificates(trusted), "not valid for name"),
            (to("localhost", &port).root_certificates(trusted).server_name("elsewhere"), "not valid for name"),
        ] {
            let (encoder, begin) = (built(wrong).unwrap(), Instant::now());
            let names = format!("no access to {}: ", encoder.url());
            let says = [names.as_str(), "invalid peer certificate: ", says];
            assert_error(encoder.encode(&words(3)).await, Error::AccessDenied, &says);
            assert!(begin.elapsed() < SOON);
        }
        let plain = built(to("localhost", &port).timeout(std::time::Duration::from_secs(1))).unwrap();
        assert_error(plain.encode(&words(3)).await, Error::ServerUnavailable, &["no answer from localhost:"]);
    }
}

#[tokio::test]
async fn mutual_tls_right_and_wrong() {
    let folder = Folder::new("mutual");
    let server = self_signed(&folder.0, "server", AUTHORITY);
    let client = self_signed(&folder.0, "client", IsCa::ExplicitNoCa);
    let (_running, port) = start_tls(&server, Some(&client)).await;
    let trusting = to("localhost", &port).root_certificates(&server.certificate);
    let right = built(trusting.clone().client_certificate(&client.certificate, &client.key)).unwrap();
    assert_words(right.encode(&words(3)).await, &words(3));
    for wrong in [trusting.clone(), trusting.client_certificate(&server.certificate, &server.key)] {
        let wrong = built(wrong.timeout(std::time::Duration::from_secs(2))).unwrap();
        let failure = wrong.encode(&words(3)).await.unwrap_err();
        // The server closes the connection after its reason, and the request may see either first.
        assert!(matches!(failure, Error::AccessDenied(_) | Error::ServerUnavailable(_)), "{failure}");
    }
}

#[test]
fn certificate_files_that_are_wrong() {
    let folder = Folder::new("files");
    let pair = self_signed(&folder.0, "server", AUTHORITY);
    let other = self_signed(&folder.0, "other", AUTHORITY);
    let empty = folder.0.join("empty.pem");
    fs::write(&empty, "").unwrap();
    let builder = || SentenceEncoder::builder().url("localhost:1");
    for (says, wrong) in [
        ("cannot read the certificate file no.pem", builder().root_certificates("no.pem")),
        ("empty.pem have no certificate; give a PEM file", builder().root_certificates(&empty)),
        ("empty.pem do not work: ", builder().client_certificate(&pair.certificate, &empty)),
        ("other.key.pem do not work: ", builder().client_certificate(&pair.certificate, &other.key)),
        ("server_name is \"a b\"", builder().tls(true).server_name("a b")),
    ] {
        assert_error(built(wrong), Error::InvalidInput, &[says]);
    }
    let half = builder().build_in(|name| (name == "SENTRITON_CLIENT_KEY").then(|| "key.pem".to_owned()));
    assert_error(half, Error::InvalidInput, &["a client certificate and its key must be set together"]);
}

#[tokio::test]
async fn the_access_key_is_sent() {
    let server = SmallServer::start().await;
    let with_key = built(SentenceEncoder::builder().url(&server.address).access_key("a key")).unwrap();
    with_key.encode_one("w1").await.unwrap();
    assert_eq!(server.knobs().headers[0].get(ACCESS_HEADER).unwrap(), "a key");
    // In Triton's own words.
    let words = "This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'";
    server.refuse(move |_, _| Some(Status::unavailable(words)));
    let says = ["no access to ", "give the server's key by access_key or $SENTRITON_ACCESS_KEY"];
    assert_error(open(&server.address).encode_one("w1").await, Error::AccessDenied, &says);
}
