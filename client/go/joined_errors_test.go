package sentriton

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/sentriton/client/go/internal/generated/inference"
)

func TestMistakeOfOneMemberIsItsOwn(t *testing.T) {
	server := startSmall(t)
	server.refuse = func(_ int, texts []string) error {
		switch {
		case slices.Contains(texts, "bad"):
			return status.Error(codes.InvalidArgument, "this text is bad")
		case slices.Contains(texts, "worse"):
			return status.Error(codes.Internal, "this text is worse")
		}
		return nil
	}
	sentences := slices.Clone(words[:20])
	sentences[13], sentences[17] = "bad", "worse"
	before := open(t, server.address)
	together(t, server, before, sentences, func(place int, found []float32, err error) {
		if place == 13 {
			wantError(t, err, ErrInvalidInput, "^this text is bad$")
		} else if place == 17 {
			wantError(t, err, ErrServerError, "^this text is worse$")
		} else if err != nil || found[0] != float32(place) {
			t.Errorf("call %d has %v, %v", place, found, err)
		}
	})
	if left := tokensLeft(before); left < retryTokens {
		t.Errorf("%v tokens of the retry budget are left", left)
	}
}

func TestServersErrorForATextNamesTheSentence(t *testing.T) {
	server := startSmall(t)
	server.refuse = func(_ int, texts []string) error {
		if row := slices.Index(texts, "w10"); row >= 0 {
			return status.Errorf(codes.InvalidArgument, "text in row %d has 9 bytes; allowed are 8", row)
		}
		return nil
	}
	for _, size := range []int{1, 2, 64} { // 64: a joined request
		_, err := encode(open(t, server.address), []string{"w1", "w100", "w10", "w1000"}, WithBatchSize(size))
		wantError(t, err, ErrInvalidInput, `^sentences\[2\] has 9 bytes; allowed are 8 \(`)
	}
}

func TestMembersThatGoAloneKeepTheLimitAndGoBeforeTheOthers(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address, WithMaxInFlight(1))
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	var requests []string
	server.refuse = func(number int, texts []string) error {
		server.set(func() { requests = append(requests, strings.Join(texts, " ")) })
		if number == 1 {
			return status.Error(codes.InvalidArgument, "no")
		}
		return nil
	}
	server.silent, server.delay = true, 50*time.Millisecond
	var calls sync.WaitGroup
	for place, batch := range []int{64, 64, 64, 64, 63} { // the last one joins none of them
		calls.Go(func() {
			found, err := encode(encoder, words[place:place+1], WithBatchSize(batch))
			wantWords(t, found, err, words[place:place+1])
		})
		eventually(t, func() bool {
			return server.count() == 1 && joinerHas(encoder, func(j *joiner) bool { return len(j.queue) == place })
		})
	}
	server.set(func() { server.silent = false })
	calls.Wait()
	if want := []string{"w0", "w1 w2 w3", "w1", "w2", "w3", "w4"}; !slices.Equal(requests, want) || server.atOnce != 1 {
		t.Errorf("the requests are %q, %d at once; expected %q, one at a time", requests, server.atOnce, want)
	}
}

func TestNumbersThatAreNotFiniteConcernTheirOwnMember(t *testing.T) {
	server := startSmall(t)
	server.change = func(answer *inference.ModelInferResponse) {
		raw := answer.RawOutputContents[0]
		for row := 0; row < len(raw); row += 4 * smallDimension {
			if bits := binary.LittleEndian.Uint32(raw[row:]); math.Float32frombits(bits) == 13 {
				binary.LittleEndian.PutUint32(raw[row+8:], math.Float32bits(float32(math.NaN())))
			}
		}
	}
	together(t, server, open(t, server.address), words[:20], func(place int, found []float32, err error) {
		if place == 13 {
			wantError(t, err, ErrServerError, `^wrong answer from 127.0.0.1:\d+: .* in row 0; expected numbers$`)
		} else if err != nil || found[0] != float32(place) {
			t.Errorf("call %d has %v, %v", place, found, err)
		}
	})
}

func TestEachMemberHasAnErrorOfItsOwn(t *testing.T) {
	server := startSmall(t)
	server.change = shaped(1, 3)
	var mutex sync.Mutex
	var found []error
	together(t, server, open(t, server.address), words[:20], func(_ int, _ []float32, err error) {
		wantError(t, err, ErrServerError, `shape \[1, 3\]`)
		mutex.Lock()
		defer mutex.Unlock()
		if slices.Contains(found, err) {
			t.Error("two calls have the same error")
		}
		found = append(found, err)
	})
}
