use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::{Instant as TokioInstant, timeout_at};

use crate::closing::long_closed;
use crate::deadline::{Deadline, LEAST_TIME};
use crate::encoder::{SentenceEncoder, Shared};
use crate::errors::Error;
use crate::inquiry::Inquiry;
use crate::manifest::Manifest;

type Known = Option<Result<Arc<Manifest>, Error>>;

/// A request for the manifest, which all waiting calls share.
pub(crate) type Reading = watch::Receiver<Known>;

/// The manifest, and the reading that it came from.
pub(crate) struct ReadManifest {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) reading: Reading,
}

impl SentenceEncoder {
    /// The served model's manifest, from the first server that answers. It is read once.
    ///
    /// # Errors
    ///
    /// All errors of the client except [`Error::InvalidInput`].
    pub async fn info(&self) -> Result<Arc<Manifest>, Error> {
        let deadline = self.deadline(None);
        self.unless_closed(async { Ok(self.manifest(&deadline).await?.manifest) }).await
    }

    /// Waits for the manifest until the call's deadline. Other calls continue to wait.
    pub(crate) async fn manifest(&self, deadline: &Deadline) -> Result<ReadManifest, Error> {
        loop {
            let reading = self.read(deadline)?;
            let mut receiver = reading.clone();
            let known = receiver.wait_for(Option::is_some);
            let known = match deadline.end() {
                Some(end) => timeout_at(TokioInstant::from_std(end), known)
                    .await
                    .map_err(|_| deadline.exceeded(self.url()))?
                    .map(|known| known.clone()),
                None => known.await.map(|known| known.clone()),
            };
            match known.ok().flatten() {
                Some(Ok(manifest)) => {
                    deadline.moved(Instant::now());
                    return Ok(ReadManifest { manifest, reading });
                }
                Some(Err(failure)) => {
                    self.forget(&reading); // the next call retries
                    return Err(failure);
                }
                None => self.forget(&reading), // its runtime has ended, so this one reads again
            }
        }
    }

    /// The reading that all calls share. Starts one if necessary, or returns an error if the call has no time for it.
    fn read(&self, deadline: &Deadline) -> Result<Reading, Error> {
        let mut current = self.reading();
        if let Some(reading) = current.as_ref().filter(|reading| has_sender_or_value(reading)) {
            return Ok(reading.clone());
        }
        if deadline.ends_before(Instant::now() + LEAST_TIME) {
            return Err(deadline.exceeded(self.url()));
        }
        let (sender, reading) = watch::channel(None);
        let (shared, own) = (Arc::clone(self.shared()), self.deadline(None));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = long_closed(shared.closed.clone()) => {}
                found = ask(&shared, own) => { sender.send_replace(Some(found)); }
            }
        });
        *current = Some(reading.clone());
        Ok(reading)
    }

    /// Makes the next call read the manifest again, unless another call has done so.
    pub(crate) fn forget(&self, one: &Reading) {
        let mut current = self.reading();
        if current.as_ref().is_some_and(|reading| reading.same_channel(one)) {
            *current = None;
        }
    }
}

/// Whether a reading is in progress or complete. False if its runtime has ended.
fn has_sender_or_value(reading: &Reading) -> bool {
    reading.has_changed().is_ok() || reading.borrow().as_ref().is_some_and(Result::is_ok)
}

/// Reads the manifest from each server in turn.
async fn ask(shared: &Shared, deadline: Deadline) -> Result<Arc<Manifest>, Error> {
    let mut inquiry = Inquiry::new(Arc::clone(&shared.servers.endpoints), deadline);
    loop {
        let (server, until) = inquiry.next(Instant::now())?;
        match shared.connections[server].asset("manifest.json", until, Manifest::read).await {
            Ok(manifest) => return Ok(Arc::new(manifest)),
            Err(failure) => inquiry.failed(failure, Instant::now()),
        }
    }
}
