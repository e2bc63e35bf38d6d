package sentriton

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/sentriton/client/go/internal/generated/inference"
)

// A call is one encode call with one model: its sentences and its result.
type call struct {
	encoder   *SentenceEncoder
	manifest  *Manifest
	sentences []string
	prompt    string
	maxRows   int
	normalize bool
	deadline  *deadline
	result    Matrix
}

func newCall(
	encoder *SentenceEncoder, manifest *Manifest, sentences, prompts []string, options *callOptions, deadline *deadline,
) (*call, error) {
	prompt, err := resolvePrompt(manifest, prompts, options)
	if err != nil {
		return nil, err
	}
	maxRows := manifest.MaxBatchSize
	if options.batchSize > 0 {
		maxRows = min(options.batchSize, maxRows)
	}
	dimension := manifest.Dimension
	if options.dimension != nil {
		dimension = *options.dimension
		if err := wholeNumber("truncate dimension", dimension, manifest.Dimension); err != nil {
			return nil, err
		}
	}
	return &call{
		encoder: encoder, manifest: manifest, sentences: sentences, prompt: prompt, maxRows: maxRows,
		normalize: options.normalize, deadline: deadline, result: makeMatrix(len(sentences), dimension),
	}, nil
}

// run embeds the sentences: in a joined request if the call is small, else in separate requests.
func (c *call) run(ctx context.Context) *Error {
	if member := newMember(c); member != nil {
		return c.encoder.joiner.run(ctx, member)
	}
	window := c.encoder.nextWindow()
	course := &course{
		total: len(c.sentences), deadline: c.deadline, gate: window, budget: c.encoder.budget,
		endpoints: c.encoder.endpoints,
	}
	plan := planRequests(c.sentences, limits{c.maxRows, c.manifest.MaxSeqLength, c.prompt})
	defer course.follow(plan)()
	dispatcher := dispatcher{
		course: course, request: c.request, encoder: c.encoder,
		collect: func(request *sending, response *inference.ModelInferResponse) *Error {
			return c.collect(request.attempt.rows, response)
		},
	}
	failure := dispatcher.run(ctx)
	c.encoder.keepWindow(window)
	if failure != nil {
		return withProgress(failure, course.finished, course.total)
	}
	return nil
}

func (c *call) request(rows *requestRows, left time.Duration) *inference.ModelInferRequest {
	return textRequest(rows.texts, parameters{c.manifest.Fingerprint, c.encoder.settings.priority, left})
}

func (c *call) collect(rows *requestRows, response *inference.ModelInferResponse) *Error {
	raw, failure := readEmbeddings(response, len(rows.indices), c.manifest.Dimension)
	if failure != nil {
		return failure
	}
	for row, index := range rows.indices {
		if !c.fill(index, raw[row*4*c.manifest.Dimension:]) {
			return notFinite(row)
		}
	}
	return nil
}

// fill sets a row of the result to the vector at the beginning of raw; false if one of its numbers is not finite.
func (c *call) fill(index int, raw []byte) bool {
	row := c.result.Row(index)
	if !decodeRow(row, raw[:4*c.manifest.Dimension]) {
		return false
	}
	if c.normalize {
		size := max(length(row), 1e-12)
		for i, value := range row {
			row[i] = float32(float64(value) / size)
		}
	}
	return true
}

// resolvePrompt returns the text before every sentence. The names are the preferred prompts of a query or document.
func resolvePrompt(manifest *Manifest, names []string, options *callOptions) (string, error) {
	text := ""
	switch {
	case options.prompt != nil:
		text = *options.prompt
	case options.promptName != nil:
		found, known := manifest.Prompts[*options.promptName]
		if !known {
			return "", unknownPrompt(manifest, *options.promptName)
		}
		text = found
	default:
		name, found := firstPrompt(manifest, names)
		if !found {
			name = manifest.DefaultPromptName
		}
		text = manifest.Prompts[name]
	}
	if text != "" && !manifest.IncludePrompt {
		return "", invalidInput("prompt is %q; this model leaves prompts out of pooling, which only the "+
			`Python client supports; allowed is ""`, text)
	}
	return text, nil
}

func unknownPrompt(manifest *Manifest, name string) error {
	known := "none"
	if len(manifest.Prompts) > 0 {
		var quoted []string
		for _, each := range slices.Sorted(maps.Keys(manifest.Prompts)) {
			quoted = append(quoted, fmt.Sprintf("%q", each))
		}
		known = strings.Join(quoted, ", ")
	}
	return invalidInput("prompt name is %q; the model's prompts are %s", name, known)
}
