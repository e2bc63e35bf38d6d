use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::Status;

use crate::channel::Sender;

const FIRST_PAUSE: Duration = Duration::from_millis(200); // between attempts to connect
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const RESOLVES_EVERY: Duration = Duration::from_secs(5);

/// The servers of one address, and the connections to them.
pub(crate) struct Pool {
    pub(crate) changed: Notify,
    own: Weak<Pool>,
    state: Mutex<State>,
    tasks: Mutex<JoinSet<()>>, // separate, since their cleanup takes the other lock
}

#[derive(Default)]
struct State {
    backends: Vec<Backend>,
    turn: usize,
    resolution: Attempts,
    resolved: Option<Instant>,
    is_stale: bool, // a connection has failed since the last resolution, so servers may have moved
    closed: bool,
    connections: u64, // so far
}

struct Backend {
    address: SocketAddr,
    sender: Option<(u64, Sender)>, // with the number of the connection
    attempts: Attempts,
}

/// The attempts at one task, such as a connection.
#[derive(Default)]
struct Attempts {
    under_way: bool,
    failures: u32, // in a row
    again_at: Option<Instant>,
    failure: Option<Status>,
}

/// The next step of a request.
pub(crate) enum Step {
    /// Takes the connection of this number.
    Ready(u64, Sender),
    Failed(Status),
    /// Wait for a change.
    Wait,
}

/// The tasks of the pool.
pub(crate) enum Task {
    Resolve(Guard),
    Connect(Guard, SocketAddr),
}

/// A running task. If it is dropped before its outcome is known, it counts as not started.
pub(crate) struct Guard {
    pool: Weak<Pool>,
    address: Option<SocketAddr>, // none: of a resolution
}

impl Pool {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            changed: Notify::new(),
            own: own.clone(),
            state: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next step of a request, and the tasks to start for it.
    pub(crate) fn step(&self, now: Instant) -> (Step, Vec<Task>) {
        let mut state = self.state();
        if state.closed {
            return (Step::Failed(Status::unavailable("this encoder is closed")), Vec::new());
        }
        let state = &mut *state;
        for backend in &mut state.backends {
            if backend.sender.take_if(|(_, sender)| sender.is_closed()).is_some() {
                state.is_stale = true;
            }
        }
        let mut tasks = Vec::new();
        let is_old = state.resolved.is_none_or(|then| state.is_stale && now >= then + RESOLVES_EVERY);
        if is_old && state.resolution.may_begin(now) {
            state.resolution.under_way = true;
            tasks.push(Task::Resolve(self.guard(None)));
        }
        for backend in &mut state.backends {
            if backend.sender.is_none() && backend.attempts.may_begin(now) {
                backend.attempts.under_way = true;
                tasks.push(Task::Connect(self.guard(Some(backend.address)), backend.address));
            }
        }
        (state.next_step(), tasks)
    }

    fn guard(&self, address: Option<SocketAddr>) -> Guard {
        Guard { pool: self.own.clone(), address }
    }

    /// Runs a task until the pool is dropped or closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Records that a request failed with its connection. The next one takes another connection.
    pub(crate) fn broke(&self, connection: u64) {
        let mut state = self.state();
        state.is_stale = true;
        for backend in &mut state.backends {
            backend.sender.take_if(|(number, _)| *number == connection);
        }
    }

    /// Closes all connections, each after its last request.
    pub(crate) fn close(&self) {
        *self.state() = State { closed: true, ..State::default() };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.changed.notify_waiters();
    }
}

impl State {
    /// Keeps only the connections to these servers.
    fn replace(&mut self, addresses: Vec<SocketAddr>, now: Instant) {
        let mut known = mem::take(&mut self.backends);
        for address in addresses {
            if !self.backends.iter().any(|each| each.address == address) {
                let place = known.iter().position(|each| each.address == address);
                let new = || Backend { address, sender: None, attempts: Attempts::default() };
                self.backends.push(place.map_or_else(new, |place| known.swap_remove(place)));
            }
        }
        (self.resolved, self.is_stale, self.resolution) = (Some(now), false, Attempts::default());
    }

    fn next_step(&mut self) -> Step {
        let count = self.backends.len();
        for _ in 0..count {
            self.turn = (self.turn + 1) % count;
            let backend = &self.backends[self.turn];
            if let Some((number, sender)) = &backend.sender {
                return Step::Ready(*number, sender.clone());
            }
        }
        let connecting = self.backends.iter().any(|each| each.attempts.under_way);
        if connecting || (count == 0 && self.resolution.under_way) {
            return Step::Wait;
        }
        let mut failures = self.backends.iter().map(|each| &each.attempts).chain([&self.resolution]);
        let failure = failures.find_map(|each| each.failure.clone());
        Step::Failed(failure.unwrap_or_else(|| Status::unavailable("its name has no address")))
    }
}

impl Attempts {
    fn may_begin(&self, now: Instant) -> bool {
        !self.under_way && self.again_at.is_none_or(|then| now >= then)
    }

    /// Records a failure. The next attempt waits, longer each time.
    fn failed(&mut self, failure: Status, now: Instant) {
        let pause = FIRST_PAUSE.mul_f64(1.6_f64.powi(self.failures.min(20).cast_signed())).min(LONGEST_PAUSE);
        self.again_at = Some(now + pause.mul_f64(0.8 + 0.4 * fastrand::f64()));
        self.failures += 1;
        self.failure = Some(failure);
        self.under_way = false;
    }
}

impl Guard {
    /// Records the current servers of the address.
    pub(crate) fn resolved(self, found: Result<Vec<SocketAddr>, Status>, now: Instant) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut state = pool.state();
        match found {
            Ok(addresses) => state.replace(addresses, now),
            Err(failure) => state.resolution.failed(failure, now),
        }
        drop(state); // before the guard, which takes the lock
    }

    /// Records a new connection, or its failure.
    pub(crate) fn connected(self, outcome: Result<Sender, Status>, now: Instant) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut state = pool.state();
        state.is_stale |= outcome.is_err();
        state.connections += 1;
        let number = state.connections;
        if let Some(backend) = state.backends.iter_mut().find(|each| Some(each.address) == self.address) {
            match outcome {
                Ok(sender) => (backend.sender, backend.attempts) = (Some((number, sender)), Attempts::default()),
                Err(failure) => backend.attempts.failed(failure, now),
            }
        }
        drop(state);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut state = pool.state();
        match self.address {
            None => state.resolution.under_way = false,
            Some(address) => {
                if let Some(backend) = state.backends.iter_mut().find(|each| each.address == address) {
                    backend.attempts.under_way = false;
                }
            }
        }
        drop(state);
        pool.changed.notify_waiters();
    }
}
