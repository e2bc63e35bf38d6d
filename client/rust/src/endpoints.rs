use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const REST: Duration = Duration::from_secs(1); // an unavailable server gets no requests for this long
const LONGEST_REST: Duration = Duration::from_secs(30); // for a silent server, since each probe delays a request
pub(crate) const LEAST_PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_FACTOR: u32 = 4; // times the slowest recent answer
const FADING: f64 = 0.95; // of the slowest answer, per further answer

/// The servers of one encoder, for all of its calls: the requests in flight to each, and its recent answers. Each
/// server is identified by its index.
pub(crate) struct Endpoints {
    addresses: Vec<String>,
    state: Mutex<State>,
}

struct State {
    servers: Vec<Server>,
    turn: usize,
    slowest: Duration,
    next: u64,
}

#[derive(Clone, Default)]
struct Server {
    resting_until: Option<Instant>,
    silences: u32, // in a row, since its last answer
    last_answer: Option<Instant>,
    in_flight: Vec<(u64, Instant)>, // number and start of each request, oldest first
}

impl Endpoints {
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        let servers = vec![Server::default(); addresses.len()];
        Self { addresses, state: Mutex::new(State { servers, turn: 0, slowest: Duration::ZERO, next: 0 }) }
    }

    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    pub(crate) fn address(&self, server: usize) -> &str {
        &self.addresses[server]
    }

    /// The addresses.
    pub(crate) fn url(&self) -> String {
        self.addresses.join(",")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time for an answer, before another server gets the request as well.
    pub(crate) fn patience(&self) -> Duration {
        self.state().patience()
    }

    /// Records a request that leaves for its server. The result is its number.
    pub(crate) fn begin(&self, server: usize, now: Instant) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.servers[server].in_flight.push((number, now));
        number
    }

    /// Records the end of a request, with an answer or an error.
    pub(crate) fn end(&self, server: usize, number: u64) {
        self.state().servers[server].in_flight.retain(|(each, _)| *each != number);
    }

    /// Records that a server answered a request.
    pub(crate) fn answered(&self, server: usize, took: Duration, now: Instant) {
        let mut state = self.state();
        state.slowest = took.max(state.slowest.mul_f64(FADING));
        let from = &mut state.servers[server];
        (from.last_answer, from.silences, from.resting_until) = (Some(now), 0, None);
    }

    /// Pauses an unavailable server, so that others are tried first.
    pub(crate) fn rest(&self, server: usize, now: Instant) {
        let one = &mut self.state().servers[server];
        one.resting_until = one.resting_until.max(Some(now + REST));
    }

    /// Records that a request sent at `sent` failed. A server without an answer for the patience is silent and gets a
    /// pause, longer each time in a row.
    pub(crate) fn late(&self, server: usize, sent: Instant, now: Instant) {
        let mut state = self.state();
        let patience = state.patience();
        let one = &mut state.servers[server];
        if now.saturating_duration_since(one.heard_since(sent)) >= patience {
            one.fell_silent(now);
        }
    }

    /// Records that a server did not answer within its time.
    pub(crate) fn silent(&self, server: usize, now: Instant) {
        self.state().servers[server].fell_silent(now);
    }

    /// The least busy server that answers, in turn among equals; if none answers, the one with the longest pause. A
    /// silent server gets one request at a time until it answers.
    pub(crate) fn choose(&self, now: Instant) -> usize {
        let mut state = self.state();
        let turn = state.in_turn();
        let awake = turn.iter().filter(|&&each| state.answers(each, now));
        let least_busy = awake.min_by_key(|&&each| state.servers[each].in_flight.len());
        let longest = || turn.iter().min_by_key(|&&each| state.servers[each].resting_until);
        least_busy.or_else(longest).copied().unwrap_or_default()
    }

    /// The least busy server that answers, other than the first, if any. A server near the end of the patience does not
    /// count, so slow servers do not get requests twice.
    pub(crate) fn another(&self, first: usize, now: Instant) -> Option<usize> {
        let mut state = self.state();
        let enough = state.patience() / 2;
        let turn = state.in_turn();
        let others = turn
            .iter()
            .copied()
            .filter(|&each| each != first && state.answers(each, now) && state.servers[each].silence(now) < enough);
        others.min_by_key(|&each| state.servers[each].in_flight.len())
    }
}

impl State {
    fn patience(&self) -> Duration {
        (self.slowest * PATIENCE_FACTOR).max(LEAST_PATIENCE)
    }

    fn in_turn(&mut self) -> Vec<usize> {
        let count = self.servers.len();
        self.turn = (self.turn + 1) % count;
        (0..count).map(|each| (self.turn + each) % count).collect()
    }

    fn answers(&self, server: usize, now: Instant) -> bool {
        let one = &self.servers[server];
        let rests = one.resting_until.is_some_and(|until| until > now);
        let probed = one.silences > 0 && !one.in_flight.is_empty();
        !rests && !probed && one.silence(now) < self.patience()
    }
}

impl Server {
    /// Starts a pause of the server, unless it has one.
    fn fell_silent(&mut self, now: Instant) {
        if self.resting_until.is_some_and(|until| until > now) {
            return;
        }
        let pause = REST * (1 << self.silences.min(10));
        self.silences += 1;
        self.resting_until = Some(now + pause.min(LONGEST_REST));
    }

    /// The time in which the requests in flight got no answer, or 0 without requests.
    fn silence(&self, now: Instant) -> Duration {
        let oldest = self.in_flight.first();
        oldest.map_or(Duration::ZERO, |(_, sent)| now.saturating_duration_since(self.heard_since(*sent)))
    }

    /// The later of a request's start and the last answer.
    fn heard_since(&self, sent: Instant) -> Instant {
        self.last_answer.map_or(sent, |answer| answer.max(sent))
    }
}
