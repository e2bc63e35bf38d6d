package sentriton

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// soonOver is a time in which no request may be sent.
const soonOver = leastTime - time.Nanosecond

func TestNoTimeIsLeftSoonBeforeTheEnd(t *testing.T) {
	begin := time.Now()
	for name, deadline := range ofOneSecond(begin) {
		for left, expected := range map[time.Duration]time.Duration{
			-time.Second: 0, 0: 0, time.Nanosecond: 0, soonOver: 0, leastTime: leastTime,
		} {
			now := begin.Add(time.Second - left)
			if found := deadline.left(now); found != expected || deadline.over(now) != (expected == 0) {
				t.Errorf("%v before %s, a request may take %v", left, name, found)
			}
		}
	}
}

func TestNoRetryIsSentSoonBeforeTheEnd(t *testing.T) {
	begin := time.Now()
	for name, deadline := range ofOneSecond(begin) {
		c := &course{
			total: 1, deadline: deadline, gate: newWindow(1), budget: newRetryBudget(),
			endpoints: &endpoints{all: []*endpoint{{}}}, prepared: new(requestRows), // nothing is sent
		}
		if failure := failNext(t, c, ErrServerUnavailable, begin); failure != nil {
			t.Fatal(failure)
		}
		request, failure := c.next(begin.Add(time.Second - soonOver))
		wantError(t, failure, ErrServerUnavailable, "^no$")
		if request != nil {
			t.Errorf("a retry leaves %v before %s", soonOver, name)
		}
	}
}

func ofOneSecond(begin time.Time) map[string]*deadline {
	return map[string]*deadline{
		"the timeout": newDeadline(context.Background(), time.Second, time.Minute, begin),
		"the stall":   newDeadline(context.Background(), 0, time.Second, begin),
	}
}

func TestCallWithoutTimeIsNotSent(t *testing.T) {
	server := startSmall(t)
	unconnected, connected := open(t, server.address), open(t, server.address)
	if _, err := connected.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), soonOver)
		t.Cleanup(cancel)
		return ctx
	}
	for _, encoder := range []*SentenceEncoder{unconnected, connected} {
		for range 20 {
			for _, sentences := range [][]string{words[:1], words[:50]} {
				_, err := encode(encoder, sentences, WithTimeout(soonOver))
				wantError(t, err, ErrDeadlineExceeded, "longer than its timeout of 1.999999ms; set a longer")
				_, err = encoder.Encode(short(), sentences)
				wantError(t, err, ErrDeadlineExceeded, "longer than its context's deadline allows; give")
				_, err = encoder.Encode(cancelled, sentences)
				wantError(t, err, context.Canceled, "^the caller cancelled the call: context canceled$")
			}
			for _, ask := range []func() error{
				func() error { _, err := encoder.Health(context.Background(), WithTimeout(soonOver)); return err },
				func() error { _, err := encoder.Health(short()); return err },
			} {
				wantError(t, ask(), ErrDeadlineExceeded, "did not answer in time: context deadline exceeded$")
			}
			_, err := encoder.Health(cancelled)
			wantError(t, err, context.Canceled, "^the caller cancelled the call: context canceled$")
		}
	}
	_, err := unconnected.Info(short())
	wantError(t, err, ErrDeadlineExceeded, "its context's deadline")
	if _, err := connected.Info(short()); err != nil {
		t.Errorf("a known manifest cannot be read: %v", err)
	}
	time.Sleep(50 * time.Millisecond) // for requests on their way
	server.set(func() {
		if server.asked != 1 || server.received != 0 {
			t.Errorf("%d questions and %d requests have arrived; expected 1 and 0", server.asked, server.received)
		}
	})
}

// nearing is a context whose end is near after the first look, as behind a connection that took long.
type nearing struct {
	context.Context
	looks *atomic.Int32
}

func (n nearing) Deadline() (time.Time, bool) {
	if n.looks.Add(1) == 1 {
		return time.Now().Add(time.Minute), true
	}
	return time.Now().Add(leastTime / 2), true
}

func TestNoRequestIsSentWhoseConnectionTookItsTime(t *testing.T) {
	server := startSmall(t)
	settings, err := resolveSettings(server.address, nil)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := newConnection(t.Context(), server.address, settings)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.channel.Close() }()
	_, failure := connection.infer(nearing{context.Background(), new(atomic.Int32)}, assetRequest("manifest.json"))
	if failure == nil || failure.Kind != ErrDeadlineExceeded {
		t.Errorf("the error is %v", failure)
	}
	server.set(func() {
		if server.asked != 0 {
			t.Error("the request was sent")
		}
	})
}
