package sentriton

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A busy machine is far below it, and a client that waits for its default of 60 s is above.
const soon = 30 * time.Second

// realURL is the server of the conformance cases.
var realURL string

func TestMain(m *testing.M) {
	realURL = os.Getenv("SENTRITON_URL")
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "SENTRITON_") {
			_ = os.Unsetenv(name)
		}
	}
	// The examples say New(""): they run against a small server.
	examples := &smallServer{assets: map[string]any{"manifest.json": smallManifest()}}
	examples.start("127.0.0.1:0")
	_ = os.Setenv("SENTRITON_URL", examples.address)
	code := m.Run()
	examples.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

func open(t testing.TB, url string, options ...Option) *SentenceEncoder {
	t.Helper()
	encoder, err := New(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = encoder.Close() })
	return encoder
}

// wantError checks kind and message of an error: says is a regular expression.
func wantError(t *testing.T, err, kind error, says string) {
	t.Helper()
	var found *Error
	if !errors.As(err, &found) || found == nil || !errors.Is(err, kind) {
		t.Fatalf("the error is %v; expected %v", err, kind)
	}
	if !regexp.MustCompile(says).MatchString(found.Message) {
		t.Fatalf("the message is %q; expected %s", found.Message, says)
	}
}

// wantWords checks that these are the vectors of a small server.
func wantWords(t *testing.T, found Matrix, err error, sentences []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if found.Rows() != len(sentences) || found.Columns() != smallDimension {
		t.Fatalf("the shape is [%d, %d]", found.Rows(), found.Columns())
	}
	for i, row := range found.All() {
		for j, value := range smallVector(sentences[i]) {
			if row[j] != value {
				t.Fatalf("row %d is %v; expected %v", i, row, smallVector(sentences[i]))
			}
		}
	}
}

func wantOne(t *testing.T, found []float32, err error, sentence string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != smallDimension || found[0] != smallVector(sentence)[0] {
		t.Fatalf("the vector of %s is %v", sentence, found)
	}
}

// wantTime checks that body takes so long.
func wantTime(t *testing.T, least, most time.Duration, body func()) {
	t.Helper()
	begin := time.Now()
	body()
	if took := time.Since(begin); took < least || took > most {
		t.Fatalf("it took %v; expected %v to %v", took, least, most)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not hold after %v", soon)
		}
	}
}

func encode(encoder *SentenceEncoder, sentences []string, options ...EncodeOption) (Matrix, error) {
	return encoder.Encode(context.Background(), sentences, options...)
}

// conformance is ../../tests/polyglot/conformance.json.
type conformance struct {
	Dimension int     `json:"dimension"`
	MinCosine float64 `json:"min_cosine"`
	Sentences []struct {
		Text   string `json:"text"`
		Times  int    `json:"times"`
		Vector string `json:"vector"`
	} `json:"sentences"`
	Cases    []conformanceCase `json:"cases"`
	Statuses [][3]string       `json:"statuses"`
	Answers  []struct {
		Case      string  `json:"case"`
		ModelName string  `json:"model_name"`
		Name      string  `json:"name"`
		Datatype  string  `json:"datatype"`
		Shape     []int64 `json:"shape"`
		Content   []byte  `json:"content"`
	} `json:"answers"`
	WrongFields [][2]any `json:"wrong_fields"`
	Similarity  struct {
		First  []int       `json:"first"`
		Second []int       `json:"second"`
		Scores [][]float32 `json:"scores"`
	} `json:"similarity"`

	texts   []string
	vectors [][]float32
}

type conformanceCase struct {
	Name      string                     `json:"name"`
	Sentences []int                      `json:"sentences"`
	Single    bool                       `json:"single"`
	Settings  map[string]json.RawMessage `json:"settings"`
	Options   map[string]json.RawMessage `json:"options"`
	Vectors   []string                   `json:"vectors"`
	UTF16     []uint16                   `json:"utf16"`
	UTF8      []byte                     `json:"utf8"`
	Error     string                     `json:"error"`
	Says      []string                   `json:"says"`
}

func loadConformance(t testing.TB) *conformance {
	content, err := os.ReadFile("../../tests/polyglot/conformance.json")
	if err != nil {
		t.Fatal(err)
	}
	loaded := new(conformance)
	if err := json.Unmarshal(content, loaded); err != nil {
		t.Fatal(err)
	}
	for _, sentence := range loaded.Sentences {
		loaded.texts = append(loaded.texts, strings.Repeat(sentence.Text, sentence.Times))
		loaded.vectors = append(loaded.vectors, decodeVector(t, sentence.Vector))
	}
	return loaded
}

func decodeVector(t testing.TB, text string) []float32 {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	vector := make([]float32, len(raw)/4)
	decodeRow(vector, raw)
	return vector
}

// kindOf is the sentinel of an error that the file names.
var kindOf = map[string]error{
	"InvalidInput": ErrInvalidInput, "ContractMismatch": ErrContractMismatch, "AccessDenied": ErrAccessDenied,
	"Overloaded": ErrOverloaded, "ServerUnavailable": ErrServerUnavailable, "DeadlineExceeded": ErrDeadlineExceeded,
	"ServerError": ErrServerError,
}
