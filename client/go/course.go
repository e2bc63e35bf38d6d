package sentriton

import (
	"errors"
	"iter"
	"slices"
	"time"
)

const lookAgain = 100 * time.Millisecond // for a server that could get the request as well

// An attempt is the number-th try to embed some rows, at one server, or at two if the first one is silent.
type attempt struct {
	rows         *requestRows
	number       int
	sendings     []*sending
	awaitedSince time.Time
	due          time.Time // if it waits for a retry
}

// A sending is an attempt's request to one server, with the deadline until.
type sending struct {
	attempt  *attempt
	endpoint *endpoint
	sent     time.Time
	until    time.Time
	cancel   func() // set by the dispatcher
}

// A gate decides the limit of requests in flight.
type gate interface {
	// enter reports whether an attempt may leave, with inFlight others of its course in flight.
	enter(inFlight int, now time.Time) bool
	// leave records that an attempt of the course ended.
	leave()
	// waits records that an attempt waits for a retry after this error.
	waits(err *Error)
	answered(characters int, now time.Time)
	overloaded()
	// opened receives when a rejected course may try again; nil if the end of its own requests is enough.
	opened() <-chan struct{}
}

// A course determines the next request, the retries and the end of one call. It uses no network and no clock, and only
// one goroutine may use it.
type course struct {
	total     int
	finished  int
	deadline  *deadline
	gate      gate
	budget    *retryBudget
	endpoints *endpoints

	nextRows    func() (requestRows, bool) // nil: only the prepared rows
	prepared    *requestRows
	waiting     []*attempt // for a retry, by due
	lastFailure *Error     // of the waiting ones
	inFlight    []*attempt // in the order of sending
}

// follow gives the course the plan of its requests. The function that it returns ends the plan.
func (c *course) follow(plan iter.Seq[requestRows]) (stop func()) {
	c.nextRows, stop = iter.Pull(plan)
	return stop
}

// next returns the request to send now, and its server; nil if the gate is closed or no rows are left. At the deadline,
// the error is the last one of the rows that wait for a retry, or ErrDeadlineExceeded.
func (c *course) next(now time.Time) (*sending, *Error) {
	c.deadline.looked(now)
	if c.deadline.over(now) {
		if len(c.waiting) > 0 {
			return nil, c.lastFailure
		}
		return nil, c.exceeded()
	}
	retry := len(c.waiting) > 0 && !c.waiting[0].due.After(now)
	if (retry || c.prepare()) && c.gate.enter(len(c.inFlight), now) {
		var leaving *attempt
		if retry {
			leaving = c.waiting[0]
			c.waiting = c.waiting[1:]
		} else {
			leaving = &attempt{rows: c.prepared, number: 1}
			c.prepared = nil
		}
		c.inFlight = append(c.inFlight, leaving)
		return c.send(leaving, c.endpoints.choose(now), now), nil
	}
	return c.hedge(now), nil
}

// prepare makes the next rows of the plan ready, and reports whether any are.
func (c *course) prepare() bool {
	if c.prepared == nil && c.nextRows != nil {
		if rows, more := c.nextRows(); more {
			c.prepared = &rows
		}
	}
	return c.prepared != nil
}

// awaits reports whether the outcome of a request still matters: no other server has answered first.
func (c *course) awaits(request *sending) bool {
	return slices.Contains(request.attempt.sendings, request)
}

// answered records that the rows of a request are embedded, and cancels another request for them.
func (c *course) answered(request *sending, now time.Time) {
	one := request.attempt
	for _, other := range one.sendings {
		if other != request {
			other.cancel()
			c.endpoints.late(other.endpoint, other.sent, now)
		}
	}
	c.ended(one)
	c.finished += len(one.rows.texts)
	c.deadline.moved(now)
	c.gate.answered(one.rows.characters, now)
	c.endpoints.answered(request.endpoint, now.Sub(request.sent), now)
	c.budget.answered()
}

// failed schedules a retry of a request's rows, unless another server still has them. It returns the error of the call
// if a retry cannot help, or no time or no budget is left for it.
func (c *course) failed(request *sending, err *Error, now time.Time) *Error {
	one := request.attempt
	one.sendings = slices.DeleteFunc(one.sendings, func(each *sending) bool { return each == request })
	// It was sent with little time left, and later answers have moved the call's deadline.
	tooLate := errors.Is(err, ErrDeadlineExceeded) && !now.Before(request.until.Add(-margin))
	unavailable, overloaded := errors.Is(err, ErrServerUnavailable), errors.Is(err, ErrOverloaded)
	switch {
	case unavailable:
		c.endpoints.rest(request.endpoint, now)
	case tooLate:
		c.endpoints.late(request.endpoint, request.sent, now)
	case overloaded:
		c.gate.overloaded()
	default:
		return err
	}
	if len(one.sendings) > 0 {
		one.awaitedSince = now
		return nil
	}
	c.ended(one)
	if tooLate && c.deadline.over(now.Add(margin)) {
		return c.exceeded()
	}
	due := now.Add(retryPause(one.number, jitter))
	late := c.deadline.endsBefore(due)
	if len(c.inFlight) == 0 {
		late = c.deadline.over(due)
	}
	if late || (!unavailable && !c.budget.take()) {
		return err
	}
	c.lastFailure = err
	c.gate.waits(err)
	one.number++
	one.due = due
	place, _ := slices.BinarySearchFunc(c.waiting, due, func(each *attempt, due time.Time) int {
		return each.due.Compare(due)
	})
	c.waiting = slices.Insert(c.waiting, place, one)
	return nil
}

// wait returns the time to wait for outcomes before another call of next.
func (c *course) wait(now time.Time) time.Duration {
	until := c.deadline.time()
	if len(c.waiting) > 0 {
		// A due attempt that was not admitted waits for the gate.
		if due := c.waiting[0].due; due.After(now) && due.Before(until) {
			until = due
		}
	}
	if len(c.endpoints.all) > 1 {
		patience := c.endpoints.patience()
		for _, each := range c.inFlight {
			if len(each.sendings) == 1 {
				if hedge := later(each.awaitedSince.Add(patience), now.Add(lookAgain)); hedge.Before(until) {
					until = hedge
				}
			}
		}
	}
	return min(max(0, until.Sub(now)), lookEvery)
}

func (c *course) send(leaving *attempt, to *endpoint, now time.Time) *sending {
	request := &sending{attempt: leaving, endpoint: to, sent: now, until: now.Add(c.deadline.left(now))}
	leaving.sendings = append(leaving.sendings, request)
	leaving.awaitedSince = now
	c.endpoints.begin(request)
	return request
}

// hedge returns a second request for the rows of a silent server, to a server that answers.
func (c *course) hedge(now time.Time) *sending {
	if len(c.endpoints.all) == 1 {
		return nil
	}
	late := now.Add(-c.endpoints.patience())
	for _, each := range c.inFlight {
		if len(each.sendings) == 1 && !each.awaitedSince.After(late) {
			other := c.endpoints.another(each.sendings[0].endpoint, now)
			if other != nil && c.budget.take() {
				return c.send(each, other, now)
			}
		}
	}
	return nil
}

func (c *course) ended(one *attempt) {
	one.sendings = nil
	c.inFlight = slices.DeleteFunc(c.inFlight, func(each *attempt) bool { return each == one })
	c.gate.leave()
}

func (c *course) exceeded() *Error { return c.deadline.exceeded(c.endpoints.url()) }
