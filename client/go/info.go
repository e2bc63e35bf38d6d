package sentriton

import (
	"context"
	"time"
)

// A reading is a request for the manifest, which all waiting calls share.
type reading struct {
	done     chan struct{} // closed when one of the two is set
	manifest *Manifest
	failure  *Error
}

// Info returns the served model's manifest, from the first server that answers. It is read once.
func (e *SentenceEncoder) Info(ctx context.Context) (*Manifest, error) {
	deadline := e.deadline(ctx, 0)
	ctx, done := callContext(ctx, e.ctx)
	defer done()
	reading, failure := e.manifest(ctx, deadline)
	if failure != nil {
		return nil, failure
	}
	return reading.manifest, nil
}

// manifest waits for the manifest until the call's deadline. Other calls continue to wait.
func (e *SentenceEncoder) manifest(ctx context.Context, deadline *deadline) (*reading, *Error) {
	if ctx.Err() != nil {
		return nil, causeOf(ctx)
	}
	reading := e.read(deadline)
	var timeout <-chan time.Time
	select {
	case <-reading.done: // since a call without time on a known model fails by its own rules
	default:
		if !deadline.end.IsZero() {
			timer := time.NewTimer(time.Until(deadline.end))
			defer timer.Stop()
			timeout = timer.C
		}
	}
	select {
	case <-ctx.Done():
		return nil, causeOf(ctx)
	case <-timeout:
		return nil, deadline.exceeded(e.URL())
	case <-reading.done:
	}
	if ctx.Err() != nil {
		return nil, causeOf(ctx)
	}
	if reading.failure != nil {
		return nil, reading.failure.copied()
	}
	deadline.moved(time.Now())
	return reading, nil
}

// read returns the reading that all calls share, or starts one. It returns a failed one if the encoder is closed or the
// call has no time.
func (e *SentenceEncoder) read(deadline *deadline) *reading {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.reading != nil {
		return e.reading
	}
	started := &reading{done: make(chan struct{})}
	if e.closed {
		started.failure = closedError()
	} else if deadline.endsBefore(time.Now().Add(leastTime)) {
		started.failure = deadline.exceeded(e.URL())
	}
	if started.failure != nil {
		close(started.done)
		return started
	}
	e.reading = started
	e.running.Go(func() {
		started.manifest, started.failure = e.ask()
		if started.failure != nil {
			e.forget(started) // the next call retries
		}
		close(started.done)
	})
	return started
}

// forget makes the next call read the manifest again, unless another call has done so.
func (e *SentenceEncoder) forget(one *reading) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.reading == one {
		e.reading = nil
	}
}

// ask reads the manifest from each server in turn.
func (e *SentenceEncoder) ask() (*Manifest, *Error) {
	inquiry := newInquiry(e.endpoints, e.deadline(context.Background(), 0))
	for {
		endpoint, allowed := inquiry.next(time.Now())
		if e.ctx.Err() != nil {
			return nil, closedError()
		}
		if endpoint == nil {
			return nil, inquiry.failure
		}
		manifest, failure := readAssetOf(e.requests, endpoint.connection, "manifest.json", allowed, readManifest)
		if failure == nil {
			return manifest, nil
		}
		inquiry.failed(failure, time.Now())
	}
}
