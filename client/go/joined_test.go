package sentriton

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// together makes calls at the same time that wait for each other: the server is silent until all have come.
func together(t *testing.T, server *smallServer, encoder *SentenceEncoder, sentences []string,
	check func(place int, found []float32, err error), options ...EncodeOption) {
	t.Helper()
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	server.set(func() { server.silent = true })
	var calls sync.WaitGroup
	for place, sentence := range sentences {
		calls.Go(func() {
			found, err := encoder.EncodeOne(context.Background(), sentence, options...)
			check(place, found, err)
		})
	}
	waiting := max(0, len(sentences)-mostJoinedRequests(encoder.settings))
	eventually(t, func() bool {
		return joinerHas(encoder, func(j *joiner) bool { return len(j.queue) >= waiting })
	})
	server.set(func() { server.silent = false })
	calls.Wait()
}

func TestCallsThatWaitShareARequest(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	together(t, server, encoder, words[:64], func(place int, found []float32, err error) {
		if err != nil || found[0] != float32(place) {
			t.Errorf("call %d has %v, %v", place, found, err)
		}
	})
	if want := []int{1, 1, 1, 1, 60}; !slices.Equal(server.rows, want) { // four leave at once
		t.Errorf("the requests have %v rows; expected %v", server.rows, want)
	}
}

func TestSmallCallsShareAndLargeOnesDoNot(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address, WithMaxInFlight(1))
	together(t, server, encoder, words[:1], func(int, []float32, error) {})
	server.set(func() { server.silent, server.rows = true, nil })
	var calls sync.WaitGroup
	for _, count := range []int{1, 8, 9, 5, 64, 8} {
		calls.Go(func() {
			found, err := encode(encoder, words[:count], WithNormalizedEmbeddings())
			if err != nil || found.Rows() != count {
				t.Errorf("%d rows, %v", found.Rows(), err)
			}
		})
	}
	calls.Go(func() { // another batch size
		if _, err := encode(encoder, words[:1], WithBatchSize(63)); err != nil {
			t.Error(err)
		}
	})
	calls.Go(func() { // remaining times that differ by more than a factor of two
		if _, err := encode(encoder, words[:1], WithTimeout(29*time.Second)); err != nil {
			t.Error(err)
		}
	})
	eventually(t, func() bool {
		return server.count() >= 4 && joinerHas(encoder, func(j *joiner) bool { return len(j.queue) == 5 })
	})
	server.set(func() { server.silent = false })
	calls.Wait()
	// One small call left at once; the others shared, but for the two.
	ones, sum := 0, 0
	for _, rows := range server.rows {
		sum += rows
		if rows == 1 {
			ones++
		}
	}
	if sum != 1+8+9+5+64+8+1+1 || ones < 2 || len(server.rows) > 6 {
		t.Errorf("the requests have %v rows", server.rows)
	}
}

func TestMemberThatLeavesDoesNotDisturbTheOthers(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address, WithMaxInFlight(1))
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	server.silent, server.refuse = true, silentFrom(1, server)
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	var calls sync.WaitGroup
	for place, sentence := range words[:10] {
		calls.Go(func() {
			if place == 3 {
				_, err := encoder.EncodeOne(ctx, sentence)
				left <- err
				return
			}
			found, err := encoder.EncodeOne(context.Background(), sentence)
			wantOne(t, found, err, sentence)
		})
		eventually(t, func() bool {
			return server.count() == 1 && joinerHas(encoder, func(j *joiner) bool { return len(j.queue) == place })
		})
	}
	server.set(func() { server.silent = false })
	eventually(t, func() bool { return server.count() == 2 }) // with nine calls, and without an answer
	_, err := encoder.EncodeOne(context.Background(), "w10", WithTimeout(150*time.Millisecond))
	wantError(t, err, ErrDeadlineExceeded, "timeout of 150ms")
	cancel()
	wantError(t, <-left, context.Canceled, "cancelled")
	server.set(func() { server.silent = false })
	calls.Wait()
	if want := []int{1, 9}; !slices.Equal(server.rows, want) {
		t.Errorf("the requests have %v rows; expected %v", server.rows, want)
	}
}

func TestRequestIsCancelledWithItsLastMember(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	server.set(func() { server.silent = true })
	_, err := encoder.EncodeOne(context.Background(), "w1", WithTimeout(100*time.Millisecond))
	wantError(t, err, ErrDeadlineExceeded, "timeout of 100ms")
	eventually(t, func() bool {
		server.mutex.Lock()
		defer server.mutex.Unlock()
		return server.inFlight == 0 && joinerHas(encoder, func(j *joiner) bool { return j.inFlight == 0 })
	})
}

func TestJoinedRequestIsRetriedAsOne(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	server.refuse = func(number int, _ []string) error {
		if number < 8 {
			return full
		}
		return nil
	}
	together(t, server, encoder, words[:64], func(place int, found []float32, err error) {
		if err != nil || found[0] != float32(place) {
			t.Errorf("call %d has %v, %v", place, found, err)
		}
	})
	if taken := retryTokens + 0.2*5 - tokensLeft(encoder); taken < 7.9 || taken > 9.1 {
		t.Errorf("%v tokens were taken for 8 retries", taken)
	}
	// The limit opens again by one per round.
	eventually(t, func() bool {
		_, err := encoder.EncodeOne(context.Background(), "w1")
		return err == nil && joinerHas(encoder, func(j *joiner) bool { return j.window.limit == 4 })
	})
	eventually(t, func() bool {
		return joinerHas(encoder, func(j *joiner) bool { return j.inFlight == 0 && len(j.queue) == 0 })
	})
}

// joinerHas looks at the joiner, which its requests change after their members have their results.
func joinerHas(encoder *SentenceEncoder, holds func(*joiner) bool) bool {
	encoder.joiner.mutex.Lock()
	defer encoder.joiner.mutex.Unlock()
	return holds(encoder.joiner)
}

func tokensLeft(encoder *SentenceEncoder) float64 {
	encoder.budget.mutex.Lock()
	defer encoder.budget.mutex.Unlock()
	return encoder.budget.tokens
}

func TestMemberThatLeavesInThePauseHasTheLastError(t *testing.T) {
	joiner := open(t, "localhost:1").joiner
	manifest := &Manifest{Dimension: smallDimension, MaxSeqLength: 32}
	one := newMember(&call{encoder: joiner.encoder, manifest: manifest, sentences: words[:1], maxRows: 64,
		deadline: newDeadline(context.Background(), 0, time.Minute, time.Now())})
	request := newJoinedRequest(joiner, []*member{one})
	last := newError(ErrServerUnavailable, "no")
	request.waits(last)
	if failure := joiner.leave(one); failure == last {
		t.Error("the error is not its own")
	} else {
		wantError(t, failure, ErrServerUnavailable, "^no$")
	}
	if request.ctx.Err() == nil {
		t.Error("the request without a member goes on")
	}
}

func TestJoinedRequestHasTheTimeOfACallThatWasSuspended(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	manifest, err := encoder.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-time.Hour)
	call, err := newCall(encoder, manifest, words[:1], nil, new(callOptions),
		newDeadline(context.Background(), 0, time.Minute, begin))
	if err != nil {
		t.Fatal(err)
	}
	if failure := call.run(context.Background()); failure != nil {
		t.Fatal(failure)
	}
	wantOne(t, call.result.Row(0), nil, words[0])
	if left := server.timeouts[0]; left <= 0 || left > time.Minute {
		t.Errorf("the server had %v", left)
	}
}

func TestCloseEndsWaitingCallsAtOnce(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	server.set(func() { server.silent = true })
	errs := make(chan error)
	for range 20 {
		go func() {
			_, err := encoder.EncodeOne(context.Background(), "w1")
			errs <- err
		}()
	}
	eventually(t, func() bool {
		return joinerHas(encoder, func(j *joiner) bool { return len(j.queue) == 16 })
	})
	wantTime(t, 0, soon, func() {
		_ = encoder.Close()
		for range 20 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Errorf("the error is %v", err)
			}
		}
	})
}

func TestCallThatExceedsTheLimitsSendsItsOwnRequests(t *testing.T) {
	server := startSmall(t)
	manifest := smallManifest()
	manifest["max_seq_length"] = 8192
	server.assets["manifest.json"] = manifest
	long := []string{strings.Repeat("a", 3000), strings.Repeat("b", 3000), "c"}
	found, err := encode(open(t, server.address), long)
	wantWords(t, found, err, long)
	if len(server.rows) != 2 {
		t.Errorf("the requests have %v rows", server.rows)
	}
}

func TestJoinedRequestHasAtMost16KiBOfText(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address, WithMaxInFlight(1))
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	server.set(func() { server.silent = true })
	half := strings.Repeat("가", 2730) + "ab" // 8 KiB of UTF-8
	var calls sync.WaitGroup
	// The first call leaves, and four wait. The last two have a byte more than 16 KiB, and do not wait.
	for _, each := range []struct {
		sentences        []string
		prompt           string
		received, queued int
	}{
		{[]string{"a"}, "", 1, 0},
		{[]string{half}, "", 1, 1},
		{[]string{half}, "", 1, 2},
		{[]string{half, half}, "", 1, 3},
		{[]string{"a"}, "", 1, 4},
		{[]string{half, half, "a"}, "", 2, 4},
		{[]string{half + half}, "a", 3, 4},
	} {
		calls.Go(func() {
			found, err := encode(encoder, each.sentences, WithPrompt(each.prompt))
			if err != nil || found.Rows() != len(each.sentences) {
				t.Errorf("%d rows: %v", found.Rows(), err)
			}
		})
		eventually(t, func() bool {
			return server.count() == each.received &&
				joinerHas(encoder, func(j *joiner) bool { return len(j.queue) == each.queued })
		})
	}
	server.set(func() { server.silent = false })
	calls.Wait()
	if want := []int{1, 3, 1, 2, 2, 1}; !slices.Equal(server.rows, want) {
		t.Errorf("the requests have %v rows; expected %v", server.rows, want)
	}
}

func TestPlacesOfJoinedRequests(t *testing.T) {
	for url, places := range map[string]int{"a:1": 4, "a:1,b:2": 8, "a:1,b:2,c:3,d:4,e:5": 16, "dns:///a:1": 16} {
		if encoder := open(t, url); encoder.joiner.window.limit != places {
			t.Errorf("%s has %d places", url, encoder.joiner.window.limit)
		}
	}
	server := startSmall(t)
	encoder := open(t, server.address)
	together(t, server, encoder, words[:1], func(int, []float32, error) {})
	server.set(func() { server.silent, server.rows = true, nil })
	var calls sync.WaitGroup
	for range 10 { // a call with a full batch never shares
		calls.Go(func() { _, _ = encode(encoder, words[:1], WithBatchSize(1)) })
	}
	eventually(t, func() bool { return server.count() == 11 })
	server.set(func() { server.silent = false })
	calls.Wait()
}
