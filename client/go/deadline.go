package sentriton

import (
	"context"
	"sync"
	"time"
)

const (
	lookEvery = time.Second
	// The longest time of one request, since gRPC and Triton use integers.
	longestRequest = 24 * time.Hour
	// gRPC's timer and this clock differ by some milliseconds. A call this close to its end is over.
	margin = 100 * time.Millisecond
	// With less time, no request is sent: a cancellation at its answer can crash Triton 24.10 (issue 7368).
	leastTime = 2 * time.Millisecond
)

// A deadline is the end of a call: timeout after its start, at the end of its context, or stallTimeout after its last
// answer.
type deadline struct {
	timeout      time.Duration // 0: none
	stallTimeout time.Duration
	end          time.Time // zero: none
	endOfContext bool      // end is the context's

	// A call and its joined request use it from different goroutines.
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

// time returns the end of the call if no answer comes.
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

// left returns the time for a request sent at now, or 0 if it is too little to send one.
func (d *deadline) left(now time.Time) time.Duration {
	left := d.time().Sub(now)
	if left < leastTime {
		return 0
	}
	return min(left, longestRequest)
}

// moved records an answer to a request of the call.
func (d *deadline) moved(now time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.stalls = now.Add(d.stallTimeout)
	d.lastLook = now
}

// looked records that the call runs. Time in which it did not run (a suspended process) does not count as a stall.
func (d *deadline) looked(now time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.stalls = d.stalls.Add(max(0, now.Sub(d.lastLook)-lookEvery))
	d.lastLook = now
}

// over reports whether the call has timed out.
func (d *deadline) over(now time.Time) bool { return d.left(now) == 0 }

// endsBefore reports whether the call's timeout ends at or before then.
func (d *deadline) endsBefore(then time.Time) bool { return !d.end.IsZero() && !then.Before(d.end) }

// exceeded returns the error of a call that timed out, with its bound and the remedy.
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
