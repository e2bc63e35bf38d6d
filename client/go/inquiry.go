package sentriton

import (
	"errors"
	"time"
)

// An inquiry asks the servers in turn for the manifest. Each has little time at first, and a silent server has more in
// its next turn. A server that failed in another way, or reported a timeout before its deadline, has no further turn.
type inquiry struct {
	endpoints *endpoints
	deadline  *deadline
	turns     []inquiryTurn
	until     time.Time // of the last turn
	failure   *Error
}

type inquiryTurn struct {
	endpoint *endpoint
	patience time.Duration
}

func newInquiry(endpoints *endpoints, deadline *deadline) *inquiry {
	turns := make([]inquiryTurn, len(endpoints.all))
	for i, each := range endpoints.all {
		turns[i] = inquiryTurn{each, leastPatience}
	}
	return &inquiry{endpoints: endpoints, deadline: deadline, turns: turns}
}

// next returns the next server and its time to answer; nil if all failed or the deadline has passed.
func (i *inquiry) next(now time.Time) (*endpoint, time.Duration) {
	if len(i.turns) == 0 {
		return nil, 0
	}
	left := i.deadline.left(now)
	if left == 0 || (!i.until.IsZero() && i.deadline.over(now.Add(margin))) {
		i.failure = i.deadline.exceeded(i.endpoints.url())
		return nil, 0
	}
	allowed := left
	if len(i.turns) > 1 {
		allowed = min(i.turns[0].patience, left)
	}
	i.until = now.Add(allowed)
	return i.turns[0].endpoint, allowed
}

// failed records the error of the last turn.
func (i *inquiry) failed(err *Error, now time.Time) {
	turn := i.turns[0]
	i.turns = i.turns[1:]
	i.failure = err
	switch {
	case errors.Is(err, ErrServerUnavailable):
		i.endpoints.rest(turn.endpoint, now)
	case errors.Is(err, ErrDeadlineExceeded) && !now.Before(i.until.Add(-margin)):
		i.endpoints.silent(turn.endpoint, now)
		i.turns = append(i.turns, inquiryTurn{turn.endpoint, 2 * turn.patience})
	}
}
