package sentriton

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	rest           = time.Second      // an unavailable server gets no requests for this long
	longestRest    = 30 * time.Second // for a silent server, since each probe delays a request by the patience
	leastPatience  = 2 * time.Second
	patienceFactor = 4    // times the slowest recent answer
	fading         = 0.95 // of the slowest answer, per further answer
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

// patience returns the time for an answer, before another server gets the request as well.
func (e *endpoints) patience() time.Duration {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.patienceNow()
}

// begin records a request that leaves for its server.
func (e *endpoints) begin(request *sending) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	to := request.endpoint
	to.inFlight = append(to.inFlight, request)
}

// end records the end of a request, with an answer or an error.
func (e *endpoints) end(request *sending) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	from := request.endpoint
	if place := slices.Index(from.inFlight, request); place >= 0 {
		from.inFlight = slices.Delete(from.inFlight, place, place+1)
	}
}

// answered records that a server answered a request.
func (e *endpoints) answered(from *endpoint, took time.Duration, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.slowest = max(took, time.Duration(fading*float64(e.slowest)))
	from.lastAnswer = now
	from.silences = 0
	from.restingUntil = time.Time{}
}

// rest pauses an unavailable server, so that others are tried first.
func (e *endpoints) rest(one *endpoint, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if until := now.Add(rest); until.After(one.restingUntil) {
		one.restingUntil = until
	}
}

// late records that a request sent at sent failed. A server without an answer for the patience is silent and gets a
// pause, longer each time in a row.
func (e *endpoints) late(one *endpoint, sent, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if now.Sub(later(sent, one.lastAnswer)) >= e.patienceNow() {
		one.fellSilent(now)
	}
}

// silent records that a server did not answer within its time.
func (e *endpoints) silent(one *endpoint, now time.Time) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	one.fellSilent(now)
}

// choose returns the least busy server that answers, in turn among equals; if none answers, the one with the longest
// pause. A silent server gets one request at a time until it answers.
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

// another returns the least busy server that answers, other than the first, or nil. A server near the end of the
// patience does not count, so slow servers do not get requests twice.
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

// fellSilent starts a pause of the server, unless it has one.
func (e *endpoint) fellSilent(now time.Time) {
	if e.restingUntil.After(now) {
		return
	}
	pause := rest * time.Duration(math.Exp2(float64(min(e.silences, 10))))
	e.silences++
	e.restingUntil = now.Add(min(longestRest, pause))
}

// silence returns the time in which the requests in flight got no answer, or 0 without requests.
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
