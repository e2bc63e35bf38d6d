package sentriton

import (
	"context"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The cases that every client passes, against the server at $SENTRITON_URL. tests/polyglot/test_go.py runs them.
func TestConformance(t *testing.T) {
	if realURL == "" {
		t.Skip("needs a server of the bundled checkpoint: set SENTRITON_URL")
	}
	loaded := loadConformance(t)
	for _, each := range loaded.Cases {
		t.Run(each.Name, func(t *testing.T) {
			found, err := loaded.embed(t, each)
			if each.Error == "" {
				if err != nil {
					t.Fatal(err)
				}
				loaded.check(t, each, found)
				return
			}
			wantError(t, err, kindOf[each.Error], "")
			for _, words := range each.Says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q is not in: %v", words, err)
				}
			}
		})
	}
	t.Run("similarity", func(t *testing.T) { loaded.checkSimilarity(t) })
	t.Run("health", func(t *testing.T) {
		report, err := open(t, realURL).Health(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if report.MinCosine < 0.99999 || report.Manifest.Dimension != loaded.Dimension {
			t.Errorf("the report is %+v", report)
		}
	})
}

func (c *conformance) embed(t *testing.T, each conformanceCase) (Matrix, error) {
	if raw, given := each.Options["batch_size"]; given && strings.Contains(string(raw), ".") {
		// The compiler refuses half a row, so the message is that of the type.
		parameter := reflect.TypeOf(WithBatchSize).In(0)
		return Matrix{}, invalidInput("%s is no %v; allowed are whole numbers from 1", raw, parameter)
	}
	url, settings := c.settings(t, each)
	if url == "" {
		url = realURL
	}
	encoder, err := New(url, settings...)
	if err != nil {
		return Matrix{}, err
	}
	defer func() { _ = encoder.Close() }()
	texts := []string{}
	for _, place := range each.Sentences {
		texts = append(texts, c.texts[place])
	}
	if each.UTF8 != nil {
		texts = []string{string(each.UTF8)}
	}
	if each.UTF16 != nil {
		texts = []string{brokenUTF16(each.UTF16)}
	}
	if !each.Single {
		return encoder.Encode(context.Background(), texts, c.options(t, each)...)
	}
	one, err := encoder.EncodeOne(context.Background(), texts[0], c.options(t, each)...)
	if err != nil {
		return Matrix{}, err
	}
	return NewMatrix([][]float32{one})
}

func (c *conformance) settings(t *testing.T, each conformanceCase) (url string, options []Option) {
	for name, raw := range each.Settings {
		switch name {
		case "url":
			url = read[string](t, raw)
		case "timeout_s":
			options = append(options, WithTimeout(seconds(t, raw)))
		case "stall_timeout_s":
			options = append(options, WithStallTimeout(seconds(t, raw)))
		case "priority":
			options = append(options, WithPriority(Priority(read[string](t, raw))))
		case "max_in_flight":
			options = append(options, WithMaxInFlight(read[int](t, raw)))
		default:
			t.Fatalf("unknown setting %s", name)
		}
	}
	return url, options
}

func (c *conformance) options(t *testing.T, each conformanceCase) (options []EncodeOption) {
	for name, raw := range each.Options {
		switch name {
		case "timeout_s":
			options = append(options, WithTimeout(seconds(t, raw)))
		case "batch_size":
			options = append(options, WithBatchSize(read[int](t, raw)))
		case "truncate_dim":
			options = append(options, WithTruncateDim(read[int](t, raw)))
		case "normalize_embeddings":
			options = append(options, WithNormalizedEmbeddings())
		case "prompt_name":
			options = append(options, WithPromptName(read[string](t, raw)))
		case "prompt":
			options = append(options, WithPrompt(read[string](t, raw)))
		default:
			t.Fatalf("unknown option %s", name)
		}
	}
	return options
}

func (c *conformance) check(t *testing.T, each conformanceCase, found Matrix) {
	var expected [][]float32
	for _, text := range each.Vectors {
		expected = append(expected, decodeVector(t, text))
	}
	if each.Vectors == nil {
		for _, place := range each.Sentences {
			expected = append(expected, c.vectors[place])
		}
	}
	if found.Rows() != len(expected) {
		t.Fatalf("%d rows; expected %d", found.Rows(), len(expected))
	}
	_, normalized := each.Options["normalize_embeddings"]
	for i, row := range found.All() {
		vector := expected[i]
		if raw, given := each.Options["truncate_dim"]; given {
			vector = vector[:read[int](t, raw)]
		}
		if len(row) != len(vector) || !(cosine(row, vector) >= c.MinCosine) {
			t.Fatalf("row %d of %d numbers has the cosine %v", i, len(row), cosine(row, vector))
		}
		size := length(vector)
		if normalized {
			size = 1
		}
		if math.Abs(length(row)-size) >= 1e-4 {
			t.Fatalf("row %d has the length %v; expected %v", i, length(row), size)
		}
	}
}

func (c *conformance) checkSimilarity(t *testing.T) {
	matrices := [2]Matrix{}
	for i, places := range [][]int{c.Similarity.First, c.Similarity.Second} {
		var rows [][]float32
		for _, place := range places {
			rows = append(rows, c.vectors[place])
		}
		matrices[i], _ = NewMatrix(rows)
	}
	found, err := open(t, realURL).Similarity(context.Background(), matrices[0], matrices[1])
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range found.All() {
		for j, score := range row {
			if math.Abs(float64(score-c.Similarity.Scores[i][j])) > 1e-5 {
				t.Errorf("score %d, %d is %v", i, j, score)
			}
		}
	}
}

// brokenUTF16 is the bytes of a string whose surrogates were each encoded on their own.
func brokenUTF16(units []uint16) string {
	var text []byte
	for _, unit := range units {
		if unit >= 0xd800 && unit < 0xe000 {
			text = append(text, 0xe0|byte(unit>>12), 0x80|byte(unit>>6&0x3f), 0x80|byte(unit&0x3f))
		} else {
			text = append(text, string(rune(unit))...)
		}
	}
	return string(text)
}

func read[T any](t *testing.T, raw []byte) T {
	var value T
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func seconds(t *testing.T, raw []byte) time.Duration {
	return time.Duration(read[float64](t, raw) * float64(time.Second))
}
