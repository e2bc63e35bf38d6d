//! TLS by rustls, if the feature `tls` is on.

#[cfg(feature = "tls")]
pub(crate) use on::{ServerName, Tls};

#[cfg(not(feature = "tls"))]
pub(crate) use off::{ServerName, Tls};

#[cfg(feature = "tls")]
mod on {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{self, CertificateDer, PrivateKeyDer, UnixTime};
    use tokio_rustls::rustls::server::ParsedCertificate;
    use tokio_rustls::rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    };

    use crate::errors::Error;
    use crate::settings::Settings;

    pub(crate) type ServerName = pki_types::ServerName<'static>;

    /// The certificates of an encoder. A clone has the same.
    #[derive(Clone)]
    pub(crate) struct Tls(TlsConnector);

    impl Tls {
        pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
            let provider = Arc::new(ring::default_provider());
            let trusted = match &settings.root_certificates {
                Some(file) => read_certificates(file, "root certificates")?,
                None => rustls_native_certs::load_native_certs().certs,
            };
            let verifier = Arc::new(Verifier::new(trusted, &provider)?);
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|failure| Error::invalid_input(format!("TLS cannot be used: {failure}")).because(failure))?
                .dangerous() // rustls' term for a custom verifier
                .with_custom_certificate_verifier(verifier);
            let mut config = match &settings.client_certificate {
                None => config.with_no_client_auth(),
                Some((certificate, key)) => {
                    let chain = read_certificates(certificate, "client certificate")?;
                    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|failure| failure.to_string());
                    let pair = private.and_then(|private| {
                        config.with_client_auth_cert(chain, private).map_err(|failure| failure.to_string())
                    });
                    pair.map_err(|reason| {
                        let (certificate, key) = (certificate.display(), key.display());
                        Error::invalid_input(format!(
                            "the client certificate {certificate} and the key {key} do not work: {reason}; give PEM files of \
                             one pair"
                        ))
                    })?
                }
            };
            config.alpn_protocols = vec![b"h2".to_vec()];
            Ok(Self(TlsConnector::from(Arc::new(config))))
        }

        pub(crate) fn server_name(name: &str) -> Result<ServerName, Error> {
            ServerName::try_from(name.to_owned()).map_err(|failure| {
                Error::invalid_input(format!("server_name is {name:?}; give a host name or an IP address"))
                    .because(failure)
            })
        }

        pub(crate) async fn connect(&self, name: &ServerName, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
            self.0.connect(name.clone(), tcp).await
        }
    }

    fn read(file: &Path) -> Result<Vec<u8>, Error> {
        std::fs::read(file).map_err(|failure| {
            let file = file.display();
            let message = format!("cannot read the certificate file {file}: {failure}; give the path of a PEM file");
            Error::invalid_input(message).because(failure)
        })
    }

    fn read_certificates(file: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
        let content = read(file)?;
        let found: Vec<_> = CertificateDer::pem_slice_iter(&content).filter_map(Result::ok).collect();
        if found.is_empty() {
            let file = file.display();
            return Err(Error::invalid_input(format!(
                "the {what} {file} have no certificate; give a PEM file of certificates"
            )));
        }
        Ok(found)
    }

    /// Trusts certificates that the authorities signed, and a server's certificate that is itself in the file of
    /// authorities. Other TLS libraries do so as well, because `openssl req -x509` makes such certificates, which claim
    /// to be an authority.
    #[derive(Debug)]
    struct Verifier {
        authorities: Arc<WebPkiServerVerifier>,
        trusted: Vec<CertificateDer<'static>>,
    }

    impl Verifier {
        fn new(trusted: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(trusted.iter().cloned());
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
            let authorities = built.map_err(|failure| {
                let message = format!("no certificate of an authority can be used: {failure}; give root_certificates");
                Error::invalid_input(message).because(failure)
            })?;
            Ok(Self { authorities, trusted })
        }
    }

    impl ServerCertVerifier for Verifier {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            intermediates: &[CertificateDer<'_>],
            name: &pki_types::ServerName<'_>,
            ocsp: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, TlsError> {
            let verified = self.authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now);
            let is_authority = matches!(&verified, Err(TlsError::InvalidCertificate(CertificateError::Other(reason)))
                if reason.to_string().contains("CaUsedAsEndEntity"));
            if !is_authority {
                return verified;
            }
            if !self.trusted.contains(end_entity) {
                return Err(CertificateError::UnknownIssuer.into());
            }
            // Its validity is already checked.
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            self.authorities.verify_tls12_signature(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            self.authorities.verify_tls13_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.authorities.supported_verify_schemes()
        }
    }
}

#[cfg(not(feature = "tls"))]
mod off {
    use std::io;

    use tokio::net::TcpStream;

    use crate::errors::Error;
    use crate::settings::Settings;

    /// The client presents no certificate.
    #[derive(Clone)]
    pub(crate) enum Tls {}

    pub(crate) enum ServerName {}

    impl Tls {
        pub(crate) fn new(_settings: &Settings) -> Result<Self, Error> {
            Err(Error::invalid_input("tls is on, but this build has no TLS; enable the feature tls of sentriton"))
        }

        pub(crate) fn server_name(name: &str) -> Result<ServerName, Error> {
            Err(Error::invalid_input(format!("server_name is {name:?}, and this build has no TLS")))
        }

        #[expect(clippy::unused_async, reason = "it is the signature of the other one")]
        pub(crate) async fn connect(&self, _name: &ServerName, _tcp: TcpStream) -> io::Result<TcpStream> {
            match *self {}
        }
    }
}
