package sentriton

import (
	"context"
	"sync"
	"time"
)

const (
	lookEvery = time.Second
	// The longest time of one request: gRPC and Triton count in integers, which have an end.
	longestRequest = 24 * time.Hour
	// gRPC's timer and this clock differ by some milliseconds: so close to the end, the call is over.
	margin = 100 * time.Millisecond
	// With less time, no request is sent: one that is cancelled as it arrives can crash Triton 24.10 (issue 7368).
	leastTime = 2 * time.Millisecond
)

// A deadline is when a call ends: timeout after its begin, at the end of its context, or stallTimeout after its last
// answer.
type deadline struct {
	timeout      time.Duration // 0: none
	stallTimeout time.Duration
	end          time.Time // zero: none
	endOfContext bool      // end is the context's

	// A call and the request that it shares with others look at it from goroutines of their own.
	mutex    sync.Mutex
	stalls   time.Time
	lastLook time.Time
}

func newDeadline(ctx context.Context, timeout, stallTimeout time.Duration, begin time.Time) *deadline {
	d := &deadline{timeout: timeout, stallTimeout: stallTimeout, stalls: begin.Add(stallTimeout), lastLook: begin}
	if timeout > 0 {
		d.end = begin.Add(timeout)
	}
	if end, ok := ctx.Deadline(); ok && (d.end.IsZero() || end.Before(d.end)) {
		d.end, d.endOfContext = end, true
	}
	return d
}

// time returns when the call ends if nothing is answered until then.
func (d *deadline) time() time.Time {
	stalls := d.stallsAt()
	if !d.end.IsZero() && d.end.Before(stalls) {
		return d.end
	}
	return stalls
}

func (d *deadline) stallsAt() time.Time {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.stalls
}

// left returns how long a request sent at now may take; 0 if that is too little to send one.
func (d *deadline) left(now time.Time) time.Duration {
	left := d.time().Sub(now)
	if left < leastTime {
		return 0
	}
	return min(left, longestRequest)
}

// moved notes that a request of the call was answered.
func (d *deadline) moved(now time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.stalls = now.Add(d.stallTimeout)
	d.lastLook = now
}

// looked notes that the call runs. If it did not for long (a suspended process), the server was not silent meanwhile.
func (d *deadline) looked(now time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.stalls = d.stalls.Add(max(0, now.Sub(d.lastLook)-lookEvery))
	d.lastLook = now
}

// over reports whether the call has to end.
func (d *deadline) over(now time.Time) bool { return d.left(now) == 0 }

// endsBefore reports whether the call's own time, stalls aside, ends at or before then.
func (d *deadline) endsBefore(then time.Time) bool { return !d.end.IsZero() && !then.Before(d.end) }

// exceeded returns the error of a call that has to end: its bound and the remedy.
func (d *deadline) exceeded(url string) *Error {
	switch {
	case d.end.IsZero() || d.stallsAt().Before(d.end):
		return newError(ErrDeadlineExceeded,
			"%s answered no request for %v; check the server (`sentriton health`), or set a longer WithStallTimeout",
			url, d.stallTimeout)
	case d.endOfContext:
		return newError(ErrDeadlineExceeded,
			"the call took longer than its context's deadline allows; give a context with more time, or none",
		).because(context.DeadlineExceeded)
	}
	return newError(ErrDeadlineExceeded,
		"the call took longer than its timeout of %v; set a longer WithTimeout, or none", d.timeout)
}
