use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const REST: Duration = Duration::from_secs(1); // a server that was unavailable gets no requests for this long
const LONGEST_REST: Duration = Duration::from_secs(30); // of a server that stays silent: each probe delays one request
pub(crate) const LEAST_PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_FACTOR: u32 = 4; // times the slowest recent answer
const FADING: f64 = 0.95; // of the slowest answer, with each further one

/// The servers of one encoder, for all of its calls: the requests in flight to each, and its recent answers. A server
/// is named by its place.
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
    in_flight: Vec<(u64, Instant)>, // number and beginning of each request, oldest first
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

    /// How long an answer may take before another server gets the request as well.
    pub(crate) fn patience(&self) -> Duration {
        self.state().patience()
    }

    /// Notes that a request leaves for its server. The result is its number.
    pub(crate) fn begin(&self, server: usize, now: Instant) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.servers[server].in_flight.push((number, now));
        number
    }

    /// Notes that a request came back, with an answer or an error.
    pub(crate) fn end(&self, server: usize, number: u64) {
        self.state().servers[server].in_flight.retain(|(each, _)| *each != number);
    }

    /// Notes that a server answered a request.
    pub(crate) fn answered(&self, server: usize, took: Duration, now: Instant) {
        let mut state = self.state();
        state.slowest = took.max(state.slowest.mul_f64(FADING));
        let from = &mut state.servers[server];
        (from.last_answer, from.silences, from.resting_until) = (Some(now), 0, None);
    }

    /// Notes that a server was unavailable: the others are tried first for a moment.
    pub(crate) fn rest(&self, server: usize, now: Instant) {
        let one = &mut self.state().servers[server];
        one.resting_until = one.resting_until.max(Some(now + REST));
    }

    /// Notes that a request sent at `sent` came to nothing. If its server answered nothing for the patience, the server is
    /// silent and rests, longer each time in a row.
    pub(crate) fn late(&self, server: usize, sent: Instant, now: Instant) {
        let mut state = self.state();
        let patience = state.patience();
        let one = &mut state.servers[server];
        if now.saturating_duration_since(one.heard_since(sent)) >= patience {
            one.fell_silent(now);
        }
    }

    /// Notes that a server did not answer in all the time that it had.
    pub(crate) fn silent(&self, server: usize, now: Instant) {
        self.state().servers[server].fell_silent(now);
    }

    /// The least busy server that answers, in turn among equals; if none answers, the one that has rested longest. A silent
    /// server gets one request at a time until it answers.
    pub(crate) fn choose(&self, now: Instant) -> usize {
        let mut state = self.state();
        let turn = state.in_turn();
        let awake = turn.iter().filter(|&&each| state.answers(each, now));
        let least_busy = awake.min_by_key(|&&each| state.servers[each].in_flight.len());
        let longest = || turn.iter().min_by_key(|&&each| state.servers[each].resting_until);
        least_busy.or_else(longest).copied().unwrap_or_default()
    }

    /// The least busy server that answers, besides the first; none if none does. One that has nearly used up the patience is
    /// no better than the first: slow servers do not get requests twice.
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
    /// Lets the server rest, unless it already does.
    fn fell_silent(&mut self, now: Instant) {
        if self.resting_until.is_some_and(|until| until > now) {
            return;
        }
        let pause = REST * (1 << self.silences.min(10));
        self.silences += 1;
        self.resting_until = Some(now + pause.min(LONGEST_REST));
    }

    /// How long requests have been in flight without an answer to any; 0 if none is.
    fn silence(&self, now: Instant) -> Duration {
        let oldest = self.in_flight.first();
        oldest.map_or(Duration::ZERO, |(_, sent)| now.saturating_duration_since(self.heard_since(*sent)))
    }

    /// The later one of a request's beginning and the last answer.
    fn heard_since(&self, sent: Instant) -> Instant {
        self.last_answer.map_or(sent, |answer| answer.max(sent))
    }
}
