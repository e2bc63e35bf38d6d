package sentriton

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestCloseGivesRequestsInFlightTimeToEnd(t *testing.T) {
	ctx := context.Background()
	question := func(e *SentenceEncoder) error { _, err := e.Info(ctx); return err }
	for name, call := range map[string]func(*SentenceEncoder) error{
		"the question":      question,
		"a joined request":  func(e *SentenceEncoder) error { _, err := e.EncodeOne(ctx, "w1"); return err },
		"separate requests": func(e *SentenceEncoder) error { _, err := encode(e, words[:400]); return err },
		"health":            func(e *SentenceEncoder) error { _, err := e.Health(ctx); return err },
	} {
		for _, isAnswered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, answered: %t", name, isAnswered), func(t *testing.T) {
				server := startSmall(t)
				encoder := open(t, server.address)
				sent, inFlight := 1, 1
				if name != "the question" {
					if err := question(encoder); err != nil {
						t.Fatal(err)
					}
					sent = 2
				}
				if name == "separate requests" {
					sent, inFlight = 5, 4
				}
				server.set(func() { server.silent = true })
				result := make(chan error, 1)
				go func() { result <- call(encoder) }()
				eventually(t, func() bool { return server.now(&server.inFlight) == inFlight })
				least, cancelled := grace, inFlight
				if isAnswered {
					least, cancelled = 0, 0
					time.AfterFunc(30*time.Millisecond, func() { server.set(func() { server.silent = false }) })
				}
				begin := time.Now()
				_ = encoder.Close()
				took := time.Since(begin)
				wantError(t, <-result, ErrClosed, "^this encoder is closed")
				eventually(t, func() bool { return server.now(&server.inFlight) == 0 })
				if found := server.now(&server.cancelled); found != cancelled {
					t.Errorf("%d requests were cancelled; expected %d", found, cancelled)
				}
				if found := server.now(&server.asked) + server.now(&server.received); found != sent {
					t.Errorf("%d requests were sent; expected %d", found, sent)
				}
				if took < least || took > soon {
					t.Errorf("Close took %v; expected %v to %v", took, least, soon)
				}
			})
		}
	}
}

func TestQuestionOutlivesItsCallers(t *testing.T) {
	server := startSmall(t)
	server.silent = true
	encoder := open(t, server.address)
	_, err := encoder.EncodeOne(context.Background(), "w1", WithTimeout(20*time.Millisecond))
	wantError(t, err, ErrDeadlineExceeded, "timeout of 20ms")
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = encoder.EncodeOne(ctx, "w1")
	wantError(t, err, context.Canceled, "the caller cancelled the call")
	eventually(t, func() bool { return server.now(&server.inFlight) == 1 })
	time.Sleep(50 * time.Millisecond)
	server.set(func() { server.silent = false })
	found, err := encoder.EncodeOne(context.Background(), "w1")
	wantOne(t, found, err, "w1")
	if asked, cancelled := server.now(&server.asked), server.now(&server.cancelled); asked != 1 || cancelled != 0 {
		t.Errorf("%d questions were sent, and %d cancelled", asked, cancelled)
	}
}
