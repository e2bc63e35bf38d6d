use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use crate::deadline::LOOK_EVERY;
use crate::encoder::Shared;
use crate::errors::Error;
use crate::joined;
use crate::matrix::Matrix;
use crate::member::{Crowd, Member};
use crate::pacing::Window;
use crate::settings::Settings;

const JOINED_PER_ADDRESS: usize = 4;

/// Joins small calls that wait at the same time. While fewer joined requests than its limit are in flight, a call
/// leaves at once, with all ready calls. Otherwise it waits in the order of arrival, and leaves with others when a
/// request ends.
pub(crate) struct Joiner {
    pub(crate) shared: Arc<Shared>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) window: Window, // the limit of requests in flight
    pub(crate) in_flight: usize,
    pub(crate) queue: VecDeque<Waiter>,
    seats: HashMap<u64, Seat>, // of the members without a result
    pub(crate) requests: HashMap<u64, Standing>,
    gathering: Option<u64>, // the request that will remove its members from the queue
    next: u64,
}

/// A waiter for a place among the requests in flight.
pub(crate) enum Waiter {
    Member(u64, Arc<Member>),
    /// A request whose retry is due.
    Request(u64),
}

struct Seat {
    result: oneshot::Sender<Result<Matrix, Error>>,
    request: Option<u64>, // none: it waits for one
    alone: bool,          // it needs a separate request, since it may have caused a failure
}

/// A joined request.
pub(crate) struct Standing {
    members: Vec<(u64, Arc<Member>)>,
    pub(crate) inside: bool,                // it has a place among those in flight
    pub(crate) queued: bool,                // it waits for a place
    pub(crate) waits_after: Option<Error>,  // it waits for a retry after this error
    pub(crate) granted: Arc<Notify>,        // it has a place for its retry
    pub(crate) without_member: Arc<Notify>, // its last member left
}

impl Joiner {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let most = most_joined_requests(&shared.settings);
        let state = State {
            window: Window::beginning_with(most, most),
            in_flight: 0,
            queue: VecDeque::new(),
            seats: HashMap::new(),
            requests: HashMap::new(),
            gathering: None,
            next: 0,
        };
        Self { shared, state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and lets waiters leave that may leave now.
    pub(crate) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, leader) = {
            let mut state = self.state();
            (change(&mut state), state.admit())
        };
        if let Some(name) = leader {
            let place = Place { joiner: Arc::clone(self), name };
            // Without a runtime, no call leaves before the next change.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(joined::run(place));
            }
        }
        result
    }

    /// Embeds the member's rows in a joined request. Dropping the future removes the member.
    pub(crate) async fn run(self: &Arc<Self>, member: Member) -> Result<Matrix, Error> {
        let member = Arc::new(member);
        let (sender, result) = oneshot::channel();
        let name = self.change(|state| {
            state.next += 1;
            state.seats.insert(state.next, Seat { result: sender, request: None, alone: false });
            state.queue.push_back(Waiter::Member(state.next, Arc::clone(&member)));
            state.next
        });
        let leaving = Leaving { joiner: self, name };
        let outcome = self.wait(&member, name, result).await;
        drop(leaving);
        outcome.map_err(|failure| failure.with_progress(0, member.rows))
    }

    async fn wait(
        self: &Arc<Self>,
        member: &Member,
        name: u64,
        mut result: oneshot::Receiver<Result<Matrix, Error>>,
    ) -> Result<Matrix, Error> {
        loop {
            let pause = member.deadline.left(Instant::now()).min(LOOK_EVERY);
            tokio::select! {
                biased;
                outcome = &mut result => return outcome.unwrap_or_else(|_| Err(Error::closed())),
                () = sleep(pause) => {}
            }
            let now = Instant::now();
            member.deadline.looked(now);
            if member.deadline.over(now) {
                let failure = self.leave(name);
                return Err(failure.unwrap_or_else(|| member.deadline.exceeded(&self.shared.settings.url)));
            }
        }
    }

    /// Removes a member whose caller has left. The result is the error of its request if that waits for a retry.
    /// Without members, the request ends.
    pub(crate) fn leave(self: &Arc<Self>, name: u64) -> Option<Error> {
        self.change(|state| {
            let seat = state.seats.remove(&name)?;
            let Some(request) = seat.request else {
                state.queue.retain(|waiter| !matches!(waiter, Waiter::Member(each, _) if *each == name));
                return None;
            };
            let is_last = state.present(request).is_empty();
            let standing = state.requests.get(&request)?;
            if is_last {
                standing.without_member.notify_one();
            }
            standing.waits_after.clone()
        })
    }
}

impl State {
    /// Lets waiters leave while fewer requests than the limit are in flight. The result is a new request. It removes
    /// its members from the queue after the currently ready tasks have run.
    fn admit(&mut self) -> Option<u64> {
        while self.in_flight < self.window.limit() {
            match self.queue.front()? {
                Waiter::Request(name) => {
                    if let Some(standing) = self.requests.get_mut(name) {
                        self.in_flight += 1;
                        (standing.inside, standing.queued) = (true, false);
                        standing.granted.notify_one();
                    }
                    self.queue.pop_front();
                }
                Waiter::Member(..) if self.gathering.is_some() => return None,
                Waiter::Member(..) => {
                    self.in_flight += 1;
                    self.next += 1;
                    self.gathering = Some(self.next);
                    self.requests.insert(self.next, Standing::new());
                    return self.gathering;
                }
            }
        }
        None
    }

    /// Removes the first member, and all that may share its request, from the queue.
    pub(crate) fn gather(&mut self, request: u64, now: Instant) {
        self.gathering = None;
        let mut together = Crowd::default();
        for waiter in mem::take(&mut self.queue) {
            if let Waiter::Member(name, member) = &waiter
                && let Some(seat) = self.seats.get_mut(name)
                && together.add(*name, member, seat.alone, now)
            {
                seat.request = Some(request);
            } else {
                self.queue.push_back(waiter);
            }
        }
        if let Some(standing) = self.requests.get_mut(&request) {
            standing.members = together.members;
        }
    }

    /// The members of a request that wait for its answer.
    pub(crate) fn present(&self, request: u64) -> Vec<(u64, Arc<Member>)> {
        let waits = |name: &u64| self.seats.get(name).is_some_and(|seat| seat.request == Some(request));
        let members = self.requests.get(&request).map_or(&[][..], |standing| &standing.members);
        members.iter().filter(|(name, _)| waits(name)).cloned().collect()
    }

    /// Gives a member its result, unless its caller left.
    pub(crate) fn deliver(&mut self, name: u64, result: Result<Matrix, Error>) {
        if let Some(seat) = self.seats.remove(&name) {
            let _ = seat.result.send(result); // its caller may leave right now
        }
    }

    /// Lets members of a request wait for another one, before all others.
    pub(crate) fn wait_again(&mut self, members: Vec<(u64, Arc<Member>)>, alone: bool) {
        for (name, member) in members.into_iter().rev() {
            if let Some(seat) = self.seats.get_mut(&name) {
                (seat.request, seat.alone) = (None, alone);
                self.queue.push_front(Waiter::Member(name, member));
            }
        }
    }

    /// Releases a request's place.
    pub(crate) fn release(&mut self, request: u64) {
        if let Some(standing) = self.requests.get_mut(&request)
            && mem::take(&mut standing.inside)
        {
            self.in_flight -= 1;
        }
    }
}

impl Standing {
    fn new() -> Self {
        Self {
            members: Vec::new(),
            inside: true,
            queued: false,
            waits_after: None,
            granted: Arc::new(Notify::new()),
            without_member: Arc::new(Notify::new()),
        }
    }
}

/// A joined request's name and its place among those in flight. Dropping it frees the place.
pub(crate) struct Place {
    pub(crate) joiner: Arc<Joiner>,
    pub(crate) name: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let end = |state: &mut State| {
            // Members without a result have lost their runtime's task, but not their request.
            let members = state.present(self.name);
            state.wait_again(members, false);
            state.queue.retain(|waiter| !matches!(waiter, Waiter::Request(name) if *name == self.name));
            state.release(self.name);
            state.requests.remove(&self.name);
            state.gathering.take_if(|name| *name == self.name).is_some()
        };
        let never_ran = end(&mut self.joiner.state());
        if !never_ran {
            self.joiner.change(|_| ());
        }
    }
}

struct Leaving<'a> {
    joiner: &'a Arc<Joiner>,
    name: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let _ = self.joiner.leave(self.name); // no call takes its error
    }
}

/// Four for each address. A dns:/// address may stand for many servers.
fn most_joined_requests(settings: &Settings) -> usize {
    if settings.addresses.iter().any(|address| address.is_dns) {
        return settings.max_in_flight;
    }
    (JOINED_PER_ADDRESS * settings.addresses.len()).min(settings.max_in_flight)
}
