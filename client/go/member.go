package sentriton

import (
	"context"
	"time"
	"unicode/utf8"
)

const (
	mostJoined            = 8       // sentences of a call that shares requests
	bytesPerJoinedRequest = 1 << 14 // of UTF-8: the server treats more text as bulk work, which would delay queries
)

// A member is a small call that shares a request with others.
type member struct {
	call       *call
	texts      []string // with the call's prompt
	characters int
	tokens     int
	bytes      int
	results    chan *Error // nil: its rows have arrived

	// The joiner guards these.
	request *joinedRequest // nil: it waits for one
	over    bool           // it has its result, or its caller left
	alone   bool           // it needs a separate request, since it may have caused a failure
}

// newMember returns nil if the call needs separate requests: its sentences are many or long, fill a batch or exceed a
// request's limits.
func newMember(c *call) *member {
	if count := len(c.sentences); count == 0 || count > mostJoined || count >= c.maxRows {
		return nil
	}
	one := &member{call: c, results: make(chan *Error, 1)}
	for _, sentence := range c.sentences {
		text := c.prompt + sentence
		characters := utf8.RuneCountInString(text)
		one.texts = append(one.texts, text)
		one.characters += characters
		one.tokens += min(characters+specialTokens, c.manifest.MaxSeqLength)
		one.bytes += len(text)
	}
	if one.bytes > bytesPerJoinedRequest || (len(one.texts) > 1 && one.tokens > tokensPerRequest) {
		return nil
	}
	return one
}

// wait returns nil once the rows of the member have arrived. It returns the error of its request, or that of its call
// if the call ends earlier.
func (m *member) wait(ctx context.Context, joiner *joiner) *Error {
	deadline := m.call.deadline
	timer := time.NewTimer(m.pause(time.Now()))
	defer timer.Stop()
	for {
		select {
		case result := <-m.results:
			return result
		case <-ctx.Done():
			joiner.leave(m)
			return causeOf(ctx)
		case now := <-timer.C:
			deadline.looked(now)
			if deadline.over(now) {
				failure := joiner.leave(m)
				if failure == nil {
					failure = deadline.exceeded(m.call.encoder.URL())
				}
				return failure
			}
			timer.Reset(m.pause(now))
		}
	}
}

func (m *member) pause(now time.Time) time.Duration {
	return min(max(0, m.call.deadline.time().Sub(now)), lookEvery)
}

// answered takes the member's rows from the beginning of raw.
func (m *member) answered(raw []byte) *Error {
	size := 4 * m.call.manifest.Dimension
	for row := range m.texts {
		if !m.call.fill(row, raw[row*size:]) {
			return notFinite(row)
		}
	}
	return nil
}

// A crowd is the members of one request, and their sums.
type crowd struct {
	members           []*member
	rows              int
	tokens            int
	bytes             int
	shortest, longest time.Duration // of their remaining times
}

// add adds a member if it fits: the same model and batch size, within the limits of a request. Remaining times may
// differ by a factor of two. A member that needs a separate request does not fit.
func (c *crowd) add(one *member, now time.Time) bool {
	deadline := one.call.deadline
	deadline.looked(now) // after a suspension, this may come before the member's own look
	left := deadline.time().Sub(now)
	if len(c.members) == 0 {
		*c = crowd{[]*member{one}, len(one.texts), one.tokens, one.bytes, left, left}
		return true
	}
	first := c.members[0].call
	shortest, longest := min(c.shortest, left), max(c.longest, left)
	switch {
	case one.alone, c.members[0].alone,
		one.call.manifest.Fingerprint != first.manifest.Fingerprint,
		one.call.maxRows != first.maxRows,
		longest > 2*shortest,
		c.rows+len(one.texts) > first.maxRows,
		c.tokens+one.tokens > tokensPerRequest,
		c.bytes+one.bytes > bytesPerJoinedRequest:
		return false
	}
	c.members = append(c.members, one)
	c.rows += len(one.texts)
	c.tokens += one.tokens
	c.bytes += one.bytes
	c.shortest, c.longest = shortest, longest
	return true
}
