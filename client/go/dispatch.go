package sentriton

import (
	"context"
	"errors"
	"time"

	"example.com/sentriton/client/go/internal/generated/inference"
)

// A dispatcher sends the requests of one course within the limit of its gate.
type dispatcher struct {
	encoder *SentenceEncoder
	course  *course
	request func(rows *requestRows, left time.Duration) *inference.ModelInferRequest
	// collect takes or rejects the answer to a request.
	collect func(request *sending, response *inference.ModelInferResponse) *Error

	outcomes chan outcome
}

// An outcome is the response to a request, or its error.
type outcome struct {
	request  *sending
	response *inference.ModelInferResponse
	failure  *Error
}

// run returns when every sentence is embedded. At the first failure, and at the end of ctx, it cancels the requests in
// flight, unless the encoder closes, which cancels them later.
func (d *dispatcher) run(ctx context.Context) *Error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests, end := d.encoder.requestContext(ctx)
	defer end()
	d.outcomes = make(chan outcome)
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for d.course.finished < d.course.total {
		if ctx.Err() != nil {
			return causeOf(ctx)
		}
		request, failure := d.course.next(time.Now())
		if failure != nil {
			return failure
		}
		if request != nil {
			d.send(ctx, requests, request)
			continue
		}
		timer.Reset(d.course.wait(time.Now()))
		select {
		case outcome := <-d.outcomes:
			if failure := d.settle(outcome); failure != nil {
				return failure
			}
		case <-timer.C:
		case <-d.course.gate.opened():
		case <-ctx.Done():
		}
	}
	return nil
}

func (d *dispatcher) send(ctx, requests context.Context, request *sending) {
	left := request.until.Sub(request.sent)
	message := d.request(request.attempt.rows, left)
	own, cancel := context.WithTimeout(requests, left)
	request.cancel = cancel
	started := d.encoder.spawn(func() {
		defer cancel()
		response, failure := request.endpoint.connection.infer(own, message)
		d.course.endpoints.end(request)
		select {
		case d.outcomes <- outcome{request, response, failure}:
		case <-ctx.Done():
		}
	})
	if !started { // the encoder is closed, and ctx ends with it
		cancel()
		d.course.endpoints.end(request)
	}
}

func (d *dispatcher) settle(outcome outcome) *Error {
	request := outcome.request
	switch {
	case !d.course.awaits(request):
		return nil
	case outcome.failure != nil:
		return d.course.failed(request, outcome.failure.ofRows(request.attempt.rows.indices), time.Now())
	}
	if failure := d.collect(request, outcome.response); failure != nil {
		return wrongAnswer(request.endpoint.connection.address, failure)
	}
	d.course.answered(request, time.Now())
	return nil
}

// callContext returns a context for the requests of a call. It ends with an *Error as its cause if the caller cancels
// ctx or the encoder closes. ctx's deadline is the call's deadline and does not end it.
func callContext(ctx, encoder context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	close := func() { cancel(closedError()) }
	abort := func() {
		if reason := context.Cause(ctx); !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel(newError(context.Canceled, "the caller cancelled the call: %v", reason).because(reason))
		}
	}
	// AfterFunc would be late, since it starts a goroutine even for an ended context.
	if encoder.Err() != nil {
		close()
	} else if ctx.Err() != nil {
		abort()
	}
	unwatch, leave := context.AfterFunc(ctx, abort), context.AfterFunc(encoder, close)
	return own, func() {
		unwatch()
		leave()
		cancel(nil)
	}
}

// causeOf returns why a context of callContext ended.
func causeOf(ctx context.Context) *Error {
	var failure *Error
	if errors.As(context.Cause(ctx), &failure) {
		return failure
	}
	return closedError()
}
