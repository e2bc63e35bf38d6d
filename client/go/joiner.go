package sentriton

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

const joinedPerAddress = 4

// A joiner lets small calls that wait at the same time share requests. While fewer joined requests than its limit are in
// flight, a call leaves at once. Else it waits in the order of arrival, and leaves with others when a request ends.
type joiner struct {
	encoder *SentenceEncoder

	mutex    sync.Mutex
	window   *window // how many requests may be in flight
	inFlight int
	queue    []waiter
}

// A waiter is one of the two: a new member, or a request whose retry is due.
type waiter struct {
	member  *member
	request *joinedRequest
}

func newJoiner(encoder *SentenceEncoder) *joiner {
	most := mostJoinedRequests(encoder.settings)
	return &joiner{encoder: encoder, window: &window{most: most, limit: most}}
}

// mostJoinedRequests is four for each address. A dns:/// address may stand for many servers.
func mostJoinedRequests(settings *settings) int {
	for _, address := range settings.addresses {
		if strings.HasPrefix(address, "dns:") {
			return settings.maxInFlight
		}
	}
	return min(joinedPerAddress*len(settings.addresses), settings.maxInFlight)
}

// run embeds the member's rows in a request that others share.
func (j *joiner) run(ctx context.Context, one *member) *Error {
	if ctx.Err() != nil {
		return causeOf(ctx)
	}
	j.mutex.Lock()
	j.queue = append(j.queue, waiter{member: one})
	j.admit(time.Now())
	j.mutex.Unlock()
	if failure := one.wait(ctx, j); failure != nil {
		return withProgress(failure, 0, len(one.texts))
	}
	return nil
}

// waitAlone lets members of a request that failed, of which any may be the cause, wait for requests of their own, before
// all others. The caller holds the mutex.
func (j *joiner) waitAlone(members []*member) {
	first := make([]waiter, 0, len(members)+len(j.queue))
	for _, each := range members {
		each.alone, each.request = true, nil
		first = append(first, waiter{member: each})
	}
	j.queue = append(first, j.queue...)
}

// leave takes a member out whose caller waits no longer. It returns the error of its request if that waits for a retry.
// The last member's end is the request's.
func (j *joiner) leave(one *member) *Error {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	one.over = true
	if one.request == nil {
		j.queue = slices.DeleteFunc(j.queue, func(each waiter) bool { return each.member == one })
		return nil
	}
	if len(one.request.present()) == 0 {
		one.request.cancel()
	}
	if failure := one.request.waitsAfter; failure != nil {
		return failure.copied()
	}
	return nil
}

// admit lets waiters leave while fewer requests than the limit are in flight. The caller holds the mutex.
func (j *joiner) admit(now time.Time) {
	for j.inFlight < j.window.limit && len(j.queue) > 0 {
		first := j.queue[0]
		j.inFlight++
		if first.request != nil {
			j.queue = j.queue[1:]
			first.request.admitted()
			continue
		}
		j.start(j.gather(now))
	}
}

// gather takes the first member and all that may share its request out of the queue.
func (j *joiner) gather(now time.Time) []*member {
	var together crowd
	stay := j.queue[:0]
	for _, each := range j.queue {
		if each.member == nil || !together.add(each.member, now) {
			stay = append(stay, each)
		}
	}
	clear(j.queue[len(stay):])
	j.queue = stay
	return together.members
}

// start sends a request of its own goroutine for members. The caller holds the mutex.
func (j *joiner) start(members []*member) {
	request := newJoinedRequest(j, members)
	if !j.encoder.spawn(request.run) { // the encoder is closed, and so end the members
		j.inFlight--
		request.cancel()
	}
}

// release gives the place of a request that ended to the next waiter. The caller holds the mutex.
func (j *joiner) release() {
	j.inFlight--
	j.admit(time.Now())
}
