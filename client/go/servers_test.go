package sentriton

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestSeveralServersShareTheWork(t *testing.T) {
	one, other, url := startTwo(t)
	one.delay, other.delay = 20*time.Millisecond, 20*time.Millisecond
	found, err := encode(open(t, url), words[:60], WithBatchSize(1))
	wantWords(t, found, err, words[:60])
	if one.count()+other.count() != 60 || min(one.count(), other.count()) < 15 {
		t.Errorf("%d and %d requests", one.count(), other.count())
	}
}

func TestOthersStandInForOneThatIsAway(t *testing.T) {
	one, _, url := startTwo(t)
	one.refuse = always(away)
	found, err := encode(open(t, "127.0.0.1:1,"+url), words[:60], WithBatchSize(1))
	wantWords(t, found, err, words[:60])
	if one.count() >= 10 {
		t.Errorf("%d requests", one.count())
	}
}

func TestSilentServerIsLeftAloneUntilItAnswers(t *testing.T) {
	t.Parallel()
	silent, other, url := startTwo(t)
	silent.delay, other.delay = 10*time.Millisecond, 10*time.Millisecond
	silent.refuse = silentFrom(20, silent)
	encoder := open(t, url)
	wantTime(t, 0, soon, func() {
		found, err := encode(encoder, words, WithBatchSize(8))
		wantWords(t, found, err, words)
	})
	eventually(t, func() bool {
		silent.mutex.Lock()
		defer silent.mutex.Unlock()
		return silent.inFlight == 0
	})
	asked := silent.count()
	silent.set(func() { silent.refuse, silent.atOnce = nil, 0 })
	eventually(t, func() bool {
		found, err := encode(encoder, words[:400], WithBatchSize(8))
		wantWords(t, found, err, words[:400])
		return silent.count() > asked
	})
	silent.set(func() {
		if silent.atOnce != 1 || silent.received-asked > 6 {
			t.Errorf("%d requests, %d at once", silent.received-asked, silent.atOnce)
		}
		silent.silent = false
	})
	before := silent.count()
	eventually(t, func() bool {
		_, _ = encode(encoder, words[:400], WithBatchSize(8))
		return silent.count() >= before+20
	})
}

func TestServerThatIsSilentFromTheBeginning(t *testing.T) {
	t.Parallel()
	silent, _, url := startTwo(t)
	silent.silent = true
	encoder := open(t, url)
	wantTime(t, 0, soon, func() {
		for _, sentences := range [][]string{words[:400], words[:1]} {
			found, err := encode(encoder, sentences)
			wantWords(t, found, err, sentences)
		}
	})
}

func TestSlowServersDoNotGetTwiceTheLoad(t *testing.T) {
	t.Parallel()
	one, other, url := startTwo(t)
	one.delay, other.delay = 2400*time.Millisecond, 2400*time.Millisecond
	found, err := encode(open(t, url), words[:32], WithBatchSize(8))
	wantWords(t, found, err, words[:32])
	if received := one.count() + other.count(); received < 4 || received >= 2*4 {
		t.Errorf("%d requests", received)
	}
}

func TestNoneOfTwoAnswers(t *testing.T) {
	t.Parallel()
	one, other, url := startTwo(t)
	encoder := open(t, url, WithStallTimeout(3*time.Second))
	if _, err := encoder.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	one.set(func() { one.silent = true })
	other.set(func() { other.silent = true })
	wantTime(t, 2*time.Second, soon, func() {
		_, err := encode(encoder, words[:400])
		wantError(t, err, ErrDeadlineExceeded, `answered no request for 3s.*\(0 of 400 sentences were embedded\)$`)
	})
}

func TestServerThatSaysAtOnceThatItIsLateIsAskedOnce(t *testing.T) {
	one, other, url := startTwo(t)
	asked := 0
	for _, server := range []*smallServer{one, other} {
		server.refuseAsset = func() error {
			asked++ // one request at a time
			return status.Error(codes.DeadlineExceeded, "a proxy gave up")
		}
	}
	for url, times := range map[string]int{one.address: 1, url: 2} {
		asked = 0
		_, err := open(t, url).Info(context.Background())
		wantError(t, err, ErrDeadlineExceeded, "did not answer in time: a proxy gave up")
		if asked != times {
			t.Errorf("%d requests for the manifest; expected %d", asked, times)
		}
	}
}
