package sentriton

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

const joinedPerAddress = 4

// A joiner joins small calls that wait at the same time. While fewer joined requests than its limit are in flight, a
// call leaves at once. Otherwise it waits in the order of arrival, and leaves with others when a request ends.
type joiner struct {
	encoder *SentenceEncoder

	mutex    sync.Mutex
	window   *window // the limit of requests in flight
	inFlight int
	queue    []waiter
}

// A waiter is either a new member or a request whose retry is due.
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

// run embeds the member's rows in a joined request.
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

// waitAlone lets the members of a failed request wait for separate requests, before all others, since any may be the
// cause. The caller holds the mutex.
func (j *joiner) waitAlone(members []*member) {
	first := make([]waiter, 0, len(members)+len(j.queue))
	for _, each := range members {
		each.alone, each.request = true, nil
		first = append(first, waiter{member: each})
	}
	j.queue = append(first, j.queue...)
}

// leave removes a member whose caller has left. It returns the error of its request if that waits for a retry. Without
// members, the request ends.
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

// gather removes the first member, and all that may share its request, from the queue.
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

// start sends a request for members, in a new goroutine. The caller holds the mutex.
func (j *joiner) start(members []*member) {
	request := newJoinedRequest(j, members)
	if !j.encoder.spawn(request.run) { // the encoder is closed, which ends the members
		j.inFlight--
		request.cancel()
	}
}

// release gives the place of an ended request to the next waiter. The caller holds the mutex.
func (j *joiner) release() {
	j.inFlight--
	j.admit(time.Now())
}
