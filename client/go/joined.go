package sentriton

import (
	"context"
	"slices"
	"time"

	"example.com/sentriton/client/go/internal/generated/inference"
)

// A joinedRequest embeds the rows of several members. It is the gate of its own course, which has one attempt.
type joinedRequest struct {
	joiner  *joiner
	ctx     context.Context
	cancel  context.CancelFunc
	course  *course
	rows    *requestRows
	sent    []*member // whose rows the attempt has
	granted chan struct{}

	// The joiner guards these.
	members    []*member
	inside     bool   // it has a place among those in flight
	queued     bool   // it waits for a place
	waitsAfter *Error // it waits for a retry after this error
}

func newJoinedRequest(joiner *joiner, members []*member) *joinedRequest {
	r := &joinedRequest{joiner: joiner, members: members, inside: true, granted: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(joiner.encoder.ctx)
	for _, each := range members {
		each.request = r
	}
	now := time.Now()
	r.rows = new(requestRows)
	r.course = &course{
		deadline: &deadline{stalls: now, lastLook: now}, gate: r, budget: joiner.encoder.budget,
		endpoints: joiner.encoder.endpoints, prepared: r.rows,
	}
	r.gather()
	return r
}

// run sends the request until it has an answer or a final error, or no member is left.
func (r *joinedRequest) run() {
	defer r.cancel()
	encoder := r.joiner.encoder
	dispatcher := dispatcher{course: r.course, request: r.request, collect: r.collect, encoder: encoder}
	failure := dispatcher.run(r.ctx)
	r.joiner.mutex.Lock()
	defer r.joiner.mutex.Unlock()
	if failure != nil && encoder.ctx.Err() == nil {
		r.fail(failure)
	}
	r.joiner.queue = slices.DeleteFunc(r.joiner.queue, func(each waiter) bool { return each.request == r })
	if r.inside {
		r.inside = false
		r.joiner.release()
	}
}

// gather collects the rows of the present members, and their longest remaining time. The caller holds the joiner's
// mutex, or no other goroutine knows the request yet.
func (r *joinedRequest) gather() {
	r.sent = r.present()
	*r.rows = requestRows{}
	r.course.deadline.stalls = time.Time{}
	for _, each := range r.sent {
		r.rows.texts = append(r.rows.texts, each.texts...)
		r.rows.characters += each.characters
		r.course.deadline.stalls = later(r.course.deadline.stalls, each.call.deadline.time())
	}
	r.course.total = len(r.rows.texts)
}

func (r *joinedRequest) present() []*member {
	return slices.DeleteFunc(slices.Clone(r.members), func(each *member) bool { return each.over })
}

func (r *joinedRequest) request(rows *requestRows, left time.Duration) *inference.ModelInferRequest {
	first := r.sent[0].call
	return textRequest(rows.texts, parameters{first.manifest.Fingerprint, first.encoder.settings.priority, left})
}

func (r *joinedRequest) collect(from *sending, response *inference.ModelInferResponse) *Error {
	dimension := r.sent[0].call.manifest.Dimension
	raw, failure := readEmbeddings(response, len(r.rows.texts), dimension)
	if failure != nil {
		return failure
	}
	for _, each := range r.sent {
		failure := each.answered(raw)
		raw = raw[len(each.texts)*4*dimension:]
		if failure != nil {
			failure = wrongAnswer(from.endpoint.connection.address, failure)
		}
		r.deliver(each, failure)
	}
	return nil
}

// deliver gives a member its result, unless its caller left.
func (r *joinedRequest) deliver(to *member, result *Error) {
	r.joiner.mutex.Lock()
	defer r.joiner.mutex.Unlock()
	to.take(result)
}

// take stores the first result. The caller holds the joiner's mutex.
func (m *member) take(result *Error) {
	if !m.over {
		m.over = true
		m.results <- result
	}
}

// fail gives each member a separate error. One member may be the cause of an invalid input or of a server's error. Then
// each waits for a separate request.
func (r *joinedRequest) fail(failure *Error) {
	// A server's own error has a cause, and a wrong answer has none.
	ofOne := failure.Kind == ErrInvalidInput || (failure.Kind == ErrServerError && failure.cause != nil)
	late := failure.Kind == ErrDeadlineExceeded && failure.cause == nil
	if ofOne && len(r.sent) > 1 {
		r.joiner.waitAlone(r.present())
		return
	}
	for _, each := range r.members {
		if late {
			each.take(each.call.deadline.exceeded(each.call.encoder.URL()))
		} else {
			each.take(failure.copied())
		}
	}
}

func (r *joinedRequest) enter(inFlight int, now time.Time) bool {
	r.joiner.mutex.Lock()
	defer r.joiner.mutex.Unlock()
	if !r.inside && !r.queued {
		r.queued = true
		r.joiner.queue = append(r.joiner.queue, waiter{request: r})
		r.joiner.admit(now)
	}
	if !r.inside || inFlight > 0 {
		return false
	}
	if r.waitsAfter != nil {
		r.waitsAfter = nil
		r.gather()
	}
	return len(r.sent) > 0
}

// admitted tells the request that it has a place for its retry. The joiner calls it.
func (r *joinedRequest) admitted() {
	r.inside, r.queued = true, false
	select {
	case r.granted <- struct{}{}:
	default: // it knows already
	}
}

func (r *joinedRequest) leave() {
	r.joiner.mutex.Lock()
	defer r.joiner.mutex.Unlock()
	r.inside = false
	r.joiner.release()
}

func (r *joinedRequest) waits(err *Error) {
	r.joiner.mutex.Lock()
	defer r.joiner.mutex.Unlock()
	r.waitsAfter = err
}

func (r *joinedRequest) opened() <-chan struct{} { return r.granted }

func (r *joinedRequest) answered(characters int, now time.Time) {
	r.joiner.mutex.Lock()
	defer r.joiner.mutex.Unlock()
	r.joiner.window.answered(characters, now)
	r.joiner.admit(now)
}

func (r *joinedRequest) overloaded() {
	r.joiner.mutex.Lock()
	defer r.joiner.mutex.Unlock()
	r.joiner.window.overloaded()
}
