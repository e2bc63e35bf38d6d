package sentriton

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	full    = status.Error(codes.Unavailable, "Exceeds maximum queue size")
	away    = status.Error(codes.Unavailable, "Server is stopping")
	unwell  = status.Error(codes.Internal, "Stub process 'encoder_0_0' is not healthy.")
	changed = status.Error(codes.InvalidArgument, "fingerprint mismatch: the request is for model 'a'")
)

func always(err error) func(int, []string) error { return func(int, []string) error { return err } }

func TestCallGoesOnAsLongAsAnswersCome(t *testing.T) {
	server := startSmall(t)
	server.delay = 200 * time.Millisecond
	encoder := open(t, server.address, WithStallTimeout(1500*time.Millisecond), WithMaxInFlight(4))
	many := words[:300]
	wantTime(t, 1600*time.Millisecond, soon, func() {
		found, err := encode(encoder, many, WithBatchSize(8))
		wantWords(t, found, err, many)
	})
	if slices.Max(server.timeouts) > 1500*time.Millisecond || slices.Min(server.timeouts) <= 0 {
		t.Errorf("the timeouts are %v", server.timeouts)
	}
}

func TestCallWithoutAnswerEndsAndSaysHowFarItGot(t *testing.T) {
	server := startSmall(t)
	server.delay = 20 * time.Millisecond
	server.refuse = silentFrom(20, server)
	encoder := open(t, server.address, WithStallTimeout(time.Second))
	wantTime(t, time.Second, soon, func() {
		_, err := encode(encoder, words, WithBatchSize(4))
		wantError(t, err, ErrDeadlineExceeded,
			`answered no request for 1s; check .* \([1-9][\d,]* of 4,000 sentences were embedded\)$`)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error("it is no context.DeadlineExceeded")
		}
	})
	server.set(func() { server.refuse, server.silent = nil, false })
	found, err := encode(encoder, words[:400])
	wantWords(t, found, err, words[:400])
}

func TestCallEndsWithItsOwnTime(t *testing.T) {
	server := startSmall(t)
	server.delay = 20 * time.Millisecond
	encoder := open(t, server.address)
	progress := `\([1-9][\d,]* of 4,000 sentences were embedded\)$`
	_, err := encode(encoder, words, WithBatchSize(2), WithTimeout(time.Second))
	wantError(t, err, ErrDeadlineExceeded, `timeout of 1s; set a longer WithTimeout, or none `+progress)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err = encoder.Encode(ctx, words, WithBatchSize(2))
	wantError(t, err, ErrDeadlineExceeded, `its context's deadline allows; .*`+progress)
	found, err := encode(encoder, words[:400], WithTimeout(1<<63-1))
	wantWords(t, found, err, words[:400])
}

func TestCallIsCancelledWithItsContext(t *testing.T) {
	server := startSmall(t)
	server.silent = true
	encoder := open(t, server.address)
	for _, manifestIsRead := range []bool{false, true} {
		if manifestIsRead {
			server.set(func() { server.silent = false })
			if _, err := encoder.Info(context.Background()); err != nil {
				t.Fatal(err)
			}
			server.set(func() { server.silent = true })
		}
		for _, sentences := range [][]string{words[:1], words[:400]} {
			reason := errors.New("the user left")
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(100*time.Millisecond, func() { cancel(reason) })
			_, err := encoder.Encode(ctx, sentences)
			wantError(t, err, context.Canceled, "the caller cancelled the call: the user left")
			if !errors.Is(err, reason) {
				t.Error("the cause is lost")
			}
		}
	}
	eventually(t, func() bool {
		server.mutex.Lock()
		defer server.mutex.Unlock()
		return server.inFlight == 0 && server.cancelled > 0
	})
}

func TestServerThatRefusesIsAskedAgain(t *testing.T) {
	for name, refusal := range map[string]error{"full": full, "away": away, "sick": unwell} {
		t.Run(name, func(t *testing.T) {
			server := startSmall(t)
			server.refuse = func(number int, _ []string) error {
				if number < 4 {
					return refusal
				}
				return nil
			}
			found, err := encode(open(t, server.address), words[:50], WithBatchSize(10))
			wantWords(t, found, err, words[:50])
			if received := server.count(); received != 4+5 {
				t.Errorf("%d requests", received)
			}
		})
	}
}

func TestServerThatRefusesForGood(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	server.refuse = always(status.Error(codes.InvalidArgument, "no"))
	_, err := encode(encoder, words[:50])
	wantError(t, err, ErrInvalidInput, `^no \(0 of 50 sentences were embedded\)$`)
	if status.Code(err) != codes.InvalidArgument || server.count() != 1 {
		t.Errorf("the status is %v after %d requests", status.Code(err), server.count())
	}
}

func TestRetryBudget(t *testing.T) {
	server := startSmall(t)
	server.refuse = always(full)
	encoder := open(t, server.address, WithMaxInFlight(1))
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for range 150 {
		calls.Go(func() {
			_, err := encode(encoder, words[:9])
			if !errors.Is(err, ErrOverloaded) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	calls.Wait()
	if received := server.count(); received != 150+100 {
		t.Errorf("%d requests; expected 150, and 100 retries", received)
	}
}

func TestManyCallersLoseNothingWhenAServerIsAwayOrRestarts(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	var calls sync.WaitGroup
	end := time.Now().Add(2 * time.Second)
	for caller := range 64 {
		calls.Go(func() {
			for time.Now().Before(end) {
				found, err := encoder.EncodeOne(context.Background(), words[caller])
				if err != nil || found[0] != float32(caller) {
					t.Errorf("caller %d has %v, %v", caller, found, err)
					return
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	server.set(func() { server.refuse = always(away) })
	time.Sleep(200 * time.Millisecond)
	server.set(func() { server.refuse = nil })
	time.Sleep(200 * time.Millisecond)
	server.stop()
	time.Sleep(300 * time.Millisecond)
	server.start(server.address)
	calls.Wait()
}

func TestChangedModel(t *testing.T) {
	server := startSmall(t)
	again := func(times int) func(int, []string) error {
		first := server.count()
		return func(number int, _ []string) error {
			if number < first+times {
				return changed
			}
			return nil
		}
	}
	for _, sentences := range [][]string{words[:3], words[:50]} {
		server.set(func() { server.refuse = nil })
		encoder := open(t, server.address)
		server.refuse = again(1)
		_, err := encode(encoder, sentences)
		wantError(t, err, ErrContractMismatch, "fingerprint mismatch")
		if !errors.Is(err, ErrInvalidInput) {
			t.Error("it is no ErrInvalidInput")
		}
		reloading := open(t, server.address, WithOnModelChange(ModelChangeReload))
		server.refuse = again(3)
		found, err := encode(reloading, sentences)
		wantWords(t, found, err, sentences)
		before := server.count()
		server.refuse = again(99)
		_, err = encode(reloading, sentences)
		wantError(t, err, ErrContractMismatch, "fingerprint mismatch")
		if asked := server.count() - before; asked != 1+3 {
			t.Errorf("%d requests", asked)
		}
	}
}

func TestClosedEncoder(t *testing.T) {
	server := startSmall(t)
	for name, silent := range map[string]bool{"while the manifest is read": true, "while requests are in flight": false} {
		t.Run(name, func(t *testing.T) {
			server.set(func() { server.silent, server.delay = silent, 100*time.Millisecond })
			encoder := open(t, server.address)
			time.AfterFunc(50*time.Millisecond, func() { _ = encoder.Close() })
			wantTime(t, 0, soon, func() {
				_, err := encode(encoder, words)
				wantError(t, err, ErrClosed, "this encoder is closed")
			})
			for _, call := range []func() error{
				func() error { _, err := encode(encoder, words[:1]); return err },
				func() error { _, err := encoder.Info(context.Background()); return err },
				func() error { _, err := encoder.Health(context.Background()); return err },
			} {
				wantError(t, call(), ErrClosed, "^this encoder is closed; make a new one$")
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	encoder := open(t, "127.0.0.1:1", WithTimeout(2*time.Second))
	says := "^no answer from 127.0.0.1:1: dial tcp 127.0.0.1:1: .*refused; is it running\\? `sentriton serve` on that machine starts it$"
	_, err := encode(encoder, words[:3])
	wantError(t, err, ErrServerUnavailable, says)
	_, err = encoder.Health(context.Background(), WithTimeout(time.Second))
	wantError(t, err, ErrServerUnavailable, says)
}

func TestSharedReadingOfTheManifest(t *testing.T) {
	server := startSmall(t)
	server.silent = true
	_, err := open(t, server.address, WithStallTimeout(300*time.Millisecond)).Info(context.Background())
	wantError(t, err, ErrDeadlineExceeded, "answered no request for 300ms")
	encoder := open(t, server.address)
	done := make(chan error)
	go func() {
		_, err := encode(encoder, words[:3])
		done <- err
	}()
	for _, method := range []func(context.Context, []string, ...EncodeOption) (Matrix, error){
		encoder.Encode, encoder.EncodeQuery, encoder.EncodeDocument,
	} {
		_, err := method(context.Background(), words[:3], WithTimeout(200*time.Millisecond))
		wantError(t, err, ErrDeadlineExceeded, "timeout of 200ms")
	}
	server.set(func() { server.silent = false })
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPrompts(t *testing.T) {
	server := startSmall(t)
	manifest := smallManifest()
	manifest["prompts"] = map[string]string{"query": "q: ", "passage": "longer: ", "corpus": "no: "}
	server.assets["manifest.json"] = manifest
	encoder := open(t, server.address)
	ctx := context.Background()
	for prompt, call := range map[string]func() ([]float32, error){
		"":         func() ([]float32, error) { return encoder.EncodeOne(ctx, "text") },
		"q: ":      func() ([]float32, error) { return encoder.EncodeOneQuery(ctx, "text") },
		"longer: ": func() ([]float32, error) { return encoder.EncodeOneDocument(ctx, "text") },
		"no: ":     func() ([]float32, error) { return encoder.EncodeOneQuery(ctx, "text", WithPromptName("corpus")) },
		"given: ": func() ([]float32, error) {
			return encoder.EncodeOne(ctx, "text", WithPromptName("query"), WithPrompt("given: "))
		},
	} {
		found, err := call()
		wantOne(t, found, err, prompt+"text")
	}
	_, err := encoder.EncodeOne(ctx, "text", WithPromptName("nope"))
	wantError(t, err, ErrInvalidInput, `"nope"; the model's prompts are "corpus", "passage", "query"`)
	manifest["include_prompt"] = false
	server.set(func() { server.assets["manifest.json"] = manifest })
	_, err = open(t, server.address).EncodeOneQuery(ctx, "text")
	wantError(t, err, ErrInvalidInput, `"q: "; this model leaves prompts out of pooling`)
}

func TestEncoderPrintsNoSecret(t *testing.T) {
	encoder := open(t, "localhost:1", WithAccessKey("secret"))
	if printed := fmt.Sprint(encoder.settings); printed != "settings of localhost:1" {
		t.Error(printed)
	}
}
