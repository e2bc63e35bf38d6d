use std::time::Instant;

use http::Uri;
use http::uri::Scheme;
use tokio::time::timeout;
use tonic::Request;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};

use crate::channel::{Channel, Until, late};
use crate::deadline::LEAST_TIME;
use crate::errors::{Error, translate};
use crate::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::inference::{ModelInferRequest, ModelInferResponse};
use crate::protocol::{asset_request, read_asset};
use crate::settings::{Address, Settings};
use crate::tls::Tls;

/// Triton adds "triton-grpc-protocol-" to the name.
pub(crate) const ACCESS_HEADER: &str = "triton-grpc-protocol-access-key";

/// A channel to one address. A clone is the same channel.
#[derive(Clone)]
pub(crate) struct Connection {
    address: String,
    access_key: Option<AsciiMetadataValue>,
    channel: Channel,
    client: GrpcInferenceServiceClient<Channel>,
}

impl Connection {
    pub(crate) fn new(address: &Address, settings: &Settings, tls: Option<Tls>) -> Result<Self, Error> {
        let refused = |reason: String| {
            let text = &address.text;
            Error::invalid_input(format!("url has the address {text}, which gRPC rejects: {reason}; give host:port"))
        };
        let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
        let authority = format!("{host}:{}", address.port);
        let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let origin = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
        let origin = origin.map_err(|wrong| refused(wrong.to_string()))?;
        let access_key = settings.access_key.as_ref().map(|key| AsciiMetadataValue::try_from(key.as_str())).transpose();
        let access_key =
            access_key.map_err(|wrong| Error::invalid_input(format!("the access key cannot be sent: {wrong}")))?;
        let channel = Channel::new(address, settings.server_name.as_deref(), tls)?;
        let client = GrpcInferenceServiceClient::with_origin(channel.clone(), origin)
            // By default, tonic's limit is 4 MB, 1,000 vectors of 1,024 dimensions.
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        Ok(Self { address: address.text.clone(), access_key, channel, client })
    }

    /// Sends one request and waits for its response until `until`; sends nothing if that is too soon. Dropping the future
    /// cancels it on the server too.
    pub(crate) async fn infer(&self, request: ModelInferRequest, until: Instant) -> Result<ModelInferResponse, Error> {
        let too_late = || translate(late(), &self.address);
        let allowed = until.saturating_duration_since(Instant::now());
        if allowed < LEAST_TIME {
            return Err(too_late());
        }
        let mut request = Request::new(request);
        request.set_timeout(allowed);
        request.extensions_mut().insert(Until(until));
        if let Some(key) = &self.access_key {
            request.metadata_mut().insert(AsciiMetadataKey::from_static(ACCESS_HEADER), key.clone());
        }
        let mut client = self.client.clone();
        let answer = timeout(allowed, client.model_infer(request)).await.map_err(|_| too_late())?;
        answer.map(tonic::Response::into_inner).map_err(|status| translate(status, &self.address))
    }

    /// Fetches an asset and reads it. A wrong one is an [`Error::ServerError`] that names server and file.
    pub(crate) async fn asset<T>(
        &self,
        name: &str,
        until: Instant,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, Error> {
        let response = self.infer(asset_request(name), until).await?;
        let content = read_asset(&response).map_err(|failure| failure.of_wrong_answer(&self.address))?;
        read(content).map_err(|wrong| {
            let address = &self.address;
            Error::server_error(format!("{address} sent a {name} that this client cannot read: {wrong}"))
        })
    }

    pub(crate) fn close(&self) {
        self.channel.close();
    }
}
