package sentriton

import (
	"context"
	"testing"
	"time"
)

// A course has no clock of its own: these are times of the test's own.
func TestCallEndsBeforeAPauseThatIsTooLong(t *testing.T) {
	begin := time.Now()
	end := begin.Add(time.Second)
	for name, each := range map[string]struct {
		deadline *deadline
		kind     error
	}{
		"for the timeout": {newDeadline(context.Background(), time.Second, time.Minute, begin), ErrServerUnavailable},
		"for the stall":   {newDeadline(context.Background(), 0, time.Second, begin), ErrOverloaded},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // pauses are random
				c := &course{
					total: 1, deadline: each.deadline, gate: newWindow(1), budget: newRetryBudget(),
					endpoints: &endpoints{all: []*endpoint{{}}}, prepared: new(requestRows), // nothing is sent
				}
				now, longest, requests := begin, firstPause, 1
				failure := failNext(t, c, each.kind, now)
				for ; failure == nil; requests++ {
					pause := c.wait(now)
					now = now.Add(pause)
					if pause > longest || !now.Before(end) {
						t.Fatalf("the pause is %v, until %v", pause, now.Sub(begin))
					}
					longest *= 2
					failure = failNext(t, c, each.kind, now)
				}
				wantError(t, failure, each.kind, "^no$")
				if now.Add(longest).Before(end) || requests < 4 { // after 0.1, 0.3 and 0.7 s at the latest
					t.Errorf("it ended after %v and %d requests", now.Sub(begin), requests)
				}
			}
		})
	}
}

func failNext(t *testing.T, c *course, kind error, now time.Time) *Error {
	t.Helper()
	request, failure := c.next(now)
	if failure != nil || request == nil {
		t.Fatalf("no request leaves: %v", failure)
	}
	return c.failed(request, newError(kind, "no"), now)
}
