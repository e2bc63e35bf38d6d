package sentriton

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	rest           = time.Second      // a server that was unavailable gets no requests for this long
	longestRest    = 30 * time.Second // of a server that stays silent: each probe delays one request by the patience
	leastPatience  = 2 * time.Second
	patienceFactor = 4    // times the slowest recent answer
	fading         = 0.95 // of the slowest answer, with each further one
)

// An endpoint is one server: its connection and its recent answers. endpoints guards it.
type endpoint struct {
	connection   *connection
	restingUntil time.Time
	silences     int // in a row, since its last answer
	lastAnswer   time.Time
	inFlight     []*sending // oldest first
}

// endpoints is the servers of one encoder, for all of its calls.
type endpoints struct {
	all     []*endpoint
	mutex   sync.Mutex
	turn    int
	slowest time.Duration
}

// url returns the addresses.
func (e *endpoints) url() string {
	addresses := make([]string, len(e.all))
	for i, each := range e.all {
		addresses[i] = each.connection.address
	}
	return strings.Join(addresses, ",")
}

// patience returns how long an answer may take before another server gets the request as well.
func (e *endpoints) patience() time.Duration {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.patienceNow()
}

// begin notes that a request leaves for its server.
func (e *endpoints) begin(request *sending) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	to := request.endpoint
	to.inFlight = append(to.inFlight, request)
}

// end notes that a request came back, with an answer or an error.
func (e *endpoints) end(request *sending) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	from := request.endpoint
	if place := slices.Index(from.inFlight, request); place >= 0 {
		from.inFlight = slices.Delete(from.inFlight, place, place+1)
	}
}

// answered notes that a server answered a request.
func (e *endpoints) answered(from *endpoint, took time.Duration, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.slowest = max(took, time.Duration(fading*float64(e.slowest)))
	from.lastAnswer = now
	from.silences = 0
	from.restingUntil = time.Time{}
}

// rest notes that a server was unavailable: the others are tried first for a moment.
func (e *endpoints) rest(one *endpoint, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if until := now.Add(rest); until.After(one.restingUntil) {
		one.restingUntil = until
	}
}

// late notes that a request sent at sent came to nothing. If its server answered nothing for the patience, the server
// is silent and rests, longer each time in a row.
func (e *endpoints) late(one *endpoint, sent, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if now.Sub(later(sent, one.lastAnswer)) >= e.patienceNow() {
		one.fellSilent(now)
	}
}

// silent notes that a server did not answer in all the time that it had.
func (e *endpoints) silent(one *endpoint, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	one.fellSilent(now)
}

// choose returns the least busy server that answers, in turn among equals; if none answers, the one that has rested
// longest. A silent server gets one request at a time until it answers.
func (e *endpoints) choose(now time.Time) *endpoint {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	turn := e.inTurn()
	awake := slices.DeleteFunc(slices.Clone(turn), func(each *endpoint) bool { return !e.answers(each, now) })
	if len(awake) > 0 {
		return slices.MinFunc(awake, lessBusy)
	}
	return slices.MinFunc(turn, func(a, b *endpoint) int { return a.restingUntil.Compare(b.restingUntil) })
}

// another returns the least busy server that answers, besides the first; nil if none does. One that has nearly used up
// the patience is no better than the first: slow servers do not get requests twice.
func (e *endpoints) another(first *endpoint, now time.Time) *endpoint {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	others := slices.DeleteFunc(e.inTurn(), func(each *endpoint) bool {
		return each == first || !e.answers(each, now) || each.silence(now) >= e.patienceNow()/2
	})
	if len(others) == 0 {
		return nil
	}
	return slices.MinFunc(others, lessBusy)
}

func (e *endpoints) inTurn() []*endpoint {
	e.turn = (e.turn + 1) % len(e.all)
	return slices.Concat(e.all[e.turn:], e.all[:e.turn])
}

func (e *endpoints) answers(one *endpoint, now time.Time) bool {
	probed := one.silences > 0 && len(one.inFlight) > 0
	return !one.restingUntil.After(now) && !probed && one.silence(now) < e.patienceNow()
}

func (e *endpoints) patienceNow() time.Duration { return max(leastPatience, patienceFactor*e.slowest) }

// fellSilent lets the server rest, unless it already does.
func (e *endpoint) fellSilent(now time.Time) {
	if e.restingUntil.After(now) {
		return
	}
	pause := rest * time.Duration(math.Exp2(float64(min(e.silences, 10))))
	e.silences++
	e.restingUntil = now.Add(min(longestRest, pause))
}

// silence returns how long requests have been in flight without an answer to any; 0 if none is.
func (e *endpoint) silence(now time.Time) time.Duration {
	if len(e.inFlight) == 0 {
		return 0
	}
	return now.Sub(later(e.inFlight[0].sent, e.lastAnswer))
}

func lessBusy(a, b *endpoint) int { return len(a.inFlight) - len(b.inFlight) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
