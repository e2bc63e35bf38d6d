package sentriton

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestStatuses(t *testing.T) {
	var code codes.Code
	statuses := append(loadConformance(t).Statuses, [][3]string{
		{"UNAVAILABLE", "tls: failed to verify certificate: x509: certificate signed by unknown authority", "AccessDenied"},
		{"UNAVAILABLE", "error reading server preface: remote error: tls: certificate required", "AccessDenied"},
		{"CANCELLED", "context canceled", "ServerError"},
	}...)
	for _, each := range statuses {
		if err := code.UnmarshalJSON([]byte(`"` + each[0] + `"`)); err != nil {
			t.Fatal(err)
		}
		received := status.Error(code, each[1])
		err := translate(received, "host:1")
		if err.Kind != kindOf[each[2]] || err.Message == "" {
			t.Errorf("%v is %v", each, err)
		}
		if status.Code(err) != code || !errors.Is(err, received) {
			t.Errorf("%v does not unwrap to its status", each)
		}
	}
}

func TestRetryPause(t *testing.T) {
	for attempt, longest := range []float64{100, 200, 400, 800, 1600, 3000, 3000} {
		for random, factor := range map[float64]float64{0: 0.2, 1: 1} {
			pause := retryPause(attempt+1, func() float64 { return random })
			if math.Abs(float64(pause.Milliseconds())-factor*longest) > 1 {
				t.Errorf("the pause after attempt %d is %v", attempt+1, pause)
			}
		}
	}
	if retryPause(1000, jitter) > longestPause {
		t.Error("it grows")
	}
}

func TestWindow(t *testing.T) {
	window := newWindow(16)
	now := time.Now()
	// Twice as many in flight, twice the rate: a server that is not full.
	for range 500 {
		now = now.Add(time.Second / time.Duration(window.limit))
		window.answered(100, now)
	}
	if window.limit != 16 || window.next().limit != 16 {
		t.Errorf("the limit is %d", window.limit)
	}
	window.overloaded()
	if window.limit != 8 {
		t.Errorf("the limit is %d", window.limit)
	}
	for range 5 {
		window.overloaded()
	}
	if window.limit != 1 {
		t.Errorf("the limit is %d", window.limit)
	}
}

func planned(texts []string, limits limits) (plan []requestRows) {
	return slices.Collect(planRequests(texts, limits))
}

func TestPlanOfRequests(t *testing.T) {
	var texts []string
	for i := range 300 {
		texts = append(texts, strings.Repeat("가", i*7919%200))
	}
	var order []int
	for _, rows := range planned(texts, limits{64, 128, ""}) {
		tokens := 0
		for i, text := range rows.texts {
			if text != texts[rows.indices[i]] {
				t.Fatal("a row has another text")
			}
			tokens += min(len(text)/3+2, 128)
		}
		if len(rows.texts) > 64 || tokens > 4096 {
			t.Errorf("%d rows, %d tokens", len(rows.texts), tokens)
		}
		order = append(order, rows.indices...)
	}
	if !slices.IsSortedFunc(order, func(a, b int) int { return len(texts[b]) - len(texts[a]) }) {
		t.Error("the longest is not first")
	}
	if slices.Sort(order); len(slices.Compact(order)) != 300 {
		t.Error("a sentence is missing")
	}
	big := []string{strings.Repeat("가", 400_000)}
	for range 20 {
		big = append(big, strings.Repeat("가", 100_000))
	}
	var sizes []int
	for _, rows := range planned(append(big, "가"), limits{64, 128, strings.Repeat("나", 10_000)}) {
		sizes = append(sizes, len(rows.texts))
	}
	if !slices.Equal(sizes, []int{1, 3, 3, 3, 3, 3, 3, 3}) {
		t.Errorf("the requests have %v rows", sizes)
	}
}

func TestSuspendedProcessDoesNotBlameTheServer(t *testing.T) {
	begin := time.Now()
	d := newDeadline(context.Background(), 0, 10*time.Second, begin)
	d.looked(begin.Add(30 * time.Second))
	if d.over(begin.Add(38*time.Second)) || !d.over(begin.Add(40*time.Second)) {
		t.Error("the stall does not begin again")
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("SENTRITON_URL", "a:1, b:2")
	t.Setenv("SENTRITON_TIMEOUT_S", "2.5")
	t.Setenv("SENTRITON_TLS", "on")
	t.Setenv("SENTRITON_PRIORITY", "bulk")
	found, err := resolveSettings("", []Option{WithTimeout(7 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found.addresses, []string{"a:1", "b:2"}) || found.timeout != 7*time.Second || !found.tls ||
		found.maxInFlight != 16 || found.priority != PriorityBulk || found.stallTimeout != time.Minute {
		t.Errorf("the settings are %+v", *found)
	}
	if found, _ = resolveSettings("c:3", nil); found.url != "c:3" || found.timeout != 2500*time.Millisecond {
		t.Errorf("the settings are %+v", *found)
	}
	for _, name := range []string{"TIMEOUT_S", "STALL_TIMEOUT_S", "MAX_IN_FLIGHT", "TLS", "PRIORITY", "ON_MODEL_CHANGE"} {
		for _, value := range []string{"soon", "-1", "NaN", "Infinity"} {
			t.Run(name+" "+value, func(t *testing.T) {
				t.Setenv("SENTRITON_"+name, value)
				_, err := New("a:1")
				wantError(t, err, ErrInvalidInput, `is "`+value+`"; allowed are `)
			})
		}
	}
}

func TestTildeIsTheHomeFolder(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	t.Setenv("SENTRITON_ROOT_CERTIFICATES", "~/ca.pem")
	found, err := resolveSettings("a:1", []Option{WithClientCertificate("~me/own.pem", "~/own.key")})
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{found.rootCertificates, found.clientCertificate, found.clientKey}
	if !slices.Equal(paths, []string{"/home/me/ca.pem", "~me/own.pem", "/home/me/own.key"}) {
		t.Errorf("the paths are %q", paths)
	}
}

func TestWrongSettings(t *testing.T) {
	for says, option := range map[string]Option{
		"^timeout is 0s; allowed are times above 0$":        WithTimeout(0),
		"^stall timeout is -1s; allowed are":                WithStallTimeout(-time.Second),
		"^max in flight is 0; allowed are whole numbers":    WithMaxInFlight(0),
		`^priority is "fast"; allowed are query, bulk$`:     WithPriority("fast"),
		`^onModelChange is "go"; allowed are raise, reload`: WithOnModelChange("go"),
	} {
		_, err := New("a:1", option)
		wantError(t, err, ErrInvalidInput, says)
	}
	for _, url := range []string{",", "localhost", "http://a:1", "a:0", "a:65536", "a b:1", "::1:80"} {
		_, err := New(url)
		wantError(t, err, ErrInvalidInput, "^url is ")
	}
	right := "a:1,[::1]:2,dns:///c.d:3,dns://10.0.0.2:53/e.f:4"
	if encoder := open(t, right); len(encoder.settings.addresses) != 4 || encoder.URL() != right {
		t.Errorf("the addresses are %v", encoder.settings.addresses)
	}
}

func TestTextThatIsNotUTF8(t *testing.T) {
	encoder := open(t, "localhost:1")
	_, err := encode(encoder, []string{"fine", "not \xff fine"})
	says := `^sentences\[1\] has the byte 0xff at position 4 \(character 4\), .*; give valid UTF-8$`
	wantError(t, err, ErrInvalidInput, says)
	_, err = encode(encoder, []string{"fine �", "가\xed\xa0\x80"}, WithTimeout(time.Second))
	wantError(t, err, ErrInvalidInput, `^sentences\[1\] has the byte 0xed at position 3 \(character 1\), .* surrogate`)
	_, err = encode(encoder, []string{"fine"}, WithPrompt("\xea"))
	wantError(t, err, ErrInvalidInput, `^prompt has the byte 0xea at position 0`)
}

func TestSimilarity(t *testing.T) {
	first, _ := NewMatrix([][]float32{{1, 0}, {3, 4}})
	second, _ := NewMatrix([][]float32{{0, 2}})
	for similarity, expected := range map[Similarity][2]float64{
		SimilarityCosine: {0, 0.8}, SimilarityDot: {0, 8}, SimilarityEuclidean: {-math.Sqrt(5), -math.Sqrt(13)},
		SimilarityManhattan: {-3, -5},
	} {
		found, err := scoreMatrix(similarity, first, second)
		if err != nil || found.Rows() != 2 || found.Columns() != 1 {
			t.Fatal(found, err)
		}
		for i, row := range found.All() {
			if math.Abs(float64(row[0])-expected[i]) > 1e-6 {
				t.Errorf("%s of row %d is %v", similarity, i, row[0])
			}
		}
	}
	other, _ := NewMatrix([][]float32{{1}})
	_, err := scoreMatrix(SimilarityDot, first, other)
	wantError(t, err, ErrInvalidInput, "2 and 1 dimensions")
	_, err = NewMatrix([][]float32{{1}, {1, 2}})
	wantError(t, err, ErrInvalidInput, "row 1 has 2 numbers and row 0 has 1")
}

func TestMatrixRowsAreViews(t *testing.T) {
	matrix, _ := NewMatrix([][]float32{{1, 2}, {3, 4}})
	matrix.Row(0)[1] = 5
	_ = append(matrix.Row(0), 6)
	if !slices.Equal(matrix.Values(), []float32{1, 5, 3, 4}) {
		t.Errorf("the values are %v", matrix.Values())
	}
	defer func() {
		if recover() == nil {
			t.Error("a row that does not exist is no panic")
		}
	}()
	matrix.Row(2)
}

func TestNoGoroutineIsLeftAfterClose(t *testing.T) {
	server := startSmall(t)
	server.delay = 50 * time.Millisecond
	before := goleak.IgnoreCurrent()
	encoder, err := New(server.address + ",127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	found, err := encode(encoder, words[:400])
	wantWords(t, found, err, words[:400])
	for range 20 {
		go func() { _, _ = encoder.EncodeOne(context.Background(), "w1") }()
	}
	go func() { _, _ = encode(encoder, words, WithBatchSize(1)) }()
	time.Sleep(100 * time.Millisecond)
	if err := encoder.Close(); err != nil {
		t.Error(err)
	}
	if err := encoder.Close(); err != nil {
		t.Error(err)
	}
	if err := goleak.Find(before); err != nil { // it waits for the small server's goroutines of these connections
		t.Error(err)
	}
}
