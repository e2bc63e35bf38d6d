package sentriton

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// Manifest is a server's description of its model.
type Manifest struct {
	Name string
	// Fingerprint is the sha256 of weights, tokenizer, modules, prompts and max_seq_length. It is the same at every
	// precision and on every device.
	Fingerprint string
	// Dimension is the length of a sentence's vector.
	Dimension int
	// MaxSeqLength is the largest number of tokens of a sentence, special ones included. The server truncates longer
	// sentences.
	MaxSeqLength int
	VocabSize    int
	// MaxBatchSize is the largest number of rows of one request.
	MaxBatchSize int
	Pooling      []string
	// IncludePrompt is whether a prompt's tokens are pooled too.
	IncludePrompt bool
	Prompts       map[string]string
	// DefaultPromptName is empty if the model has no default prompt.
	DefaultPromptName string
	Similarity        Similarity
	Precision         string
	Device            string
	// MinCosine is the smallest cosine to sentence-transformers' vectors that the precision allows.
	MinCosine        float64
	Parity           map[string]float64
	Files            map[string]string
	SentritonVersion string
}

const (
	largestDimension = 65_536 // far above any encoder's
	largestNumber    = math.MaxInt32
)

var sha256Text = regexp.MustCompile(`^[0-9a-f]{64}$`)

// A field of manifest.json: the allowed values in words, and a function that reads it and reports whether it is
// allowed.
type field struct {
	name, allowed string
	read          func(raw []byte) bool
}

func (m *Manifest) fields() []field {
	return []field{
		text("name", &m.Name),
		text("fingerprint", &m.Fingerprint),
		whole("dimension", &m.Dimension, largestDimension),
		whole("max_seq_length", &m.MaxSeqLength, largestNumber),
		whole("vocab_size", &m.VocabSize, largestNumber),
		whole("max_batch_size", &m.MaxBatchSize, largestNumber),
		{"pooling", "a list of strings", func(raw []byte) bool {
			return into(raw, &m.Pooling) && !slices.Contains(m.Pooling, "")
		}},
		{"include_prompt", "true or false", func(raw []byte) bool { return into(raw, &m.IncludePrompt) }},
		object("prompts", "an object of strings", &m.Prompts, func(string) bool { return true }),
		{"default_prompt_name", "a string or null", func(raw []byte) bool {
			return string(raw) == "null" || into(raw, &m.DefaultPromptName)
		}},
		{"similarity", "one of cosine, dot, euclidean, manhattan", func(raw []byte) bool {
			return into(raw, &m.Similarity) && scores[m.Similarity] != nil
		}},
		text("precision", &m.Precision),
		text("device", &m.Device),
		{"min_cosine", "a number from -1 to 1", func(raw []byte) bool {
			return into(raw, &m.MinCosine) && math.Abs(m.MinCosine) <= 1
		}},
		object("parity", "an object of numbers with min_cosine and sentences", &m.Parity,
			func(float64) bool { return true }, "min_cosine", "sentences"),
		object("files", "an object of sha256 sums with that of tokenizer.json", &m.Files,
			sha256Text.MatchString, "tokenizer.json"),
		text("sentriton_version", &m.SentritonVersion),
	}
}

// readManifest returns an error if content is not a manifest; it names the missing or wrong field. Fields of a newer
// server that this client does not know are ignored.
func readManifest(content []byte) (*Manifest, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(content, &values); err != nil {
		return nil, err
	}
	if values == nil {
		return nil, errors.New("the manifest is null; expected an object")
	}
	manifest := new(Manifest)
	fields := manifest.fields()
	var missing []string
	for _, field := range fields {
		if _, given := values[field.name]; !given {
			missing = append(missing, field.name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the manifest lacks %s", strings.Join(missing, ", "))
	}
	for _, field := range fields {
		if raw := bytes.TrimSpace(values[field.name]); !field.read(raw) {
			return nil, fmt.Errorf("the manifest's %s is %.200s; expected %s", field.name, raw, field.allowed)
		}
	}
	name := manifest.DefaultPromptName
	if _, known := manifest.Prompts[name]; name != "" && !known {
		return nil, fmt.Errorf("the manifest's default_prompt_name is %q; expected one of its prompts", name)
	}
	return manifest, nil
}

// into reads a value that is not null.
func into(raw []byte, value any) bool {
	return string(raw) != "null" && json.Unmarshal(raw, value) == nil
}

func text(name string, value *string) field {
	return field{name, "a text", func(raw []byte) bool { return into(raw, value) && *value != "" }}
}

func whole(name string, value *int, most int) field {
	allowed := fmt.Sprintf("a whole number from 1 to %d", most)
	return field{name, allowed, func(raw []byte) bool { return into(raw, value) && 1 <= *value && *value <= most }}
}

func object[T any](name, allowed string, value *map[string]T, holds func(T) bool, keys ...string) field {
	return field{name, allowed, func(raw []byte) bool {
		var found map[string]*T // a pointer, since Go reads null as a zero value
		if !into(raw, &found) {
			return false
		}
		*value = make(map[string]T, len(found))
		for key, each := range found {
			if each == nil || !holds(*each) {
				return false
			}
			(*value)[key] = *each
		}
		for _, key := range keys {
			if _, given := found[key]; !given {
				return false
			}
		}
		return true
	}}
}
