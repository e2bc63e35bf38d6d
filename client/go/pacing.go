package sentriton

import (
	"math/rand/v2"
	"sync"
	"time"
)

const leastInFlight = 4 // one computed, one queued, and two in transfer

// A window is the limit of a call's requests in flight. It grows while this raises the rate, and halves when the server
// is overloaded. It compares the rate (characters per second) of each round, as many answers as the limit, with the
// best one. The next call begins with next. It is the gate of a call's own requests.
type window struct {
	most, limit int
	bestRate    float64
	characters  int
	answers     int
	since       time.Time // of the round; zero: before the first answer
}

func newWindow(most int) *window {
	return &window{most: most, limit: min(leastInFlight, most)}
}

// next returns a window for the next call: it keeps the limit and the best rate.
func (w *window) next() *window {
	return &window{most: w.most, limit: w.limit, bestRate: w.bestRate}
}

// answered counts an answer for sentences of this many characters.
func (w *window) answered(characters int, now time.Time) {
	if w.since.IsZero() {
		w.since = now
		return
	}
	w.characters += characters
	w.answers++
	if w.answers < w.limit || !now.After(w.since) {
		return
	}
	rate := float64(w.characters) / now.Sub(w.since).Seconds()
	// After an overload it grows by one per round, at any rate.
	if rate > 1.05*w.bestRate || w.limit < leastInFlight {
		w.limit = min(w.limit+1, w.most)
	}
	// The best rate fades, in case the server becomes slower.
	w.bestRate = max(rate, 0.98*w.bestRate)
	w.restart(now)
}

// overloaded halves the window.
func (w *window) overloaded() {
	w.limit = max(1, w.limit/2)
	w.restart(time.Time{})
}

func (w *window) enter(inFlight int, _ time.Time) bool { return inFlight < w.limit }

func (w *window) leave() {}

func (w *window) waits(*Error) {}

func (w *window) opened() <-chan struct{} { return nil }

func (w *window) restart(since time.Time) {
	w.characters, w.answers, w.since = 0, 0, since
}

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 3 * time.Second
)

// retryPause returns the pause after attempt number attempt, counted from 1: exponential, with jitter from random in
// [0, 1).
func retryPause(attempt int, random func() float64) time.Duration {
	ceiling := min(longestPause, firstPause<<min(attempt-1, 16))
	return time.Duration((0.2 + 0.8*random()) * float64(ceiling))
}

func jitter() float64 { return rand.Float64() }

const (
	retryTokens     = 100
	tokensPerAnswer = 0.2
)

// A retryBudget bounds the retries at an overloaded server to a share of its answers, so that callers do not double its
// load. Retries at an unavailable server are not bounded.
type retryBudget struct {
	mutex  sync.Mutex
	tokens float64
}

func newRetryBudget() *retryBudget { return &retryBudget{tokens: retryTokens} }

// answered returns a fifth of a token.
func (b *retryBudget) answered() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.tokens = min(retryTokens, b.tokens+tokensPerAnswer)
}

// take reports whether the budget has a token for a retry, and takes it.
func (b *retryBudget) take() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
