package sentriton

import (
	"context"
	"time"
)

const healthTimeout = 10 * time.Second

// HealthReport is a passed canary: the served model, and the smallest cosine to its golden vectors.
type HealthReport struct {
	Manifest  *Manifest
	MinCosine float64
}

// Health embeds the golden sentences of the first server and compares the vectors with those of sentence-transformers.
// It is an [ErrServerError] if they differ by more than the precision allows. The check ends after 10 s, or the time of
// [WithTimeout], and is not retried.
func (e *SentenceEncoder) Health(ctx context.Context, timeout ...TimeoutOption) (*HealthReport, error) {
	options := &callOptions{timeout: healthTimeout}
	for _, option := range timeout {
		if err := option.applyToCall(options); err != nil {
			return nil, err
		}
	}
	deadline := e.deadline(ctx, options.timeout)
	ctx, done := callContext(ctx, e.ctx)
	defer done()
	if ctx.Err() != nil {
		return nil, causeOf(ctx)
	}
	requests, end := e.requestContext(ctx)
	defer end()
	var report *HealthReport
	var failure *Error
	over := make(chan struct{})
	started := e.spawn(func() {
		defer close(over)
		report, failure = e.canary(requests, func() time.Duration { return time.Until(deadline.end) })
	})
	if !started {
		return nil, closedError()
	}
	select {
	case <-ctx.Done():
	case <-over:
	}
	switch {
	case ctx.Err() != nil:
		return nil, causeOf(ctx)
	case failure != nil:
		return nil, failure
	}
	return report, nil
}

func (e *SentenceEncoder) canary(ctx context.Context, left func() time.Duration) (*HealthReport, *Error) {
	server := e.endpoints.all[0].connection
	manifest, failure := readAssetOf(ctx, server, "manifest.json", left(), readManifest)
	if failure != nil {
		return nil, failure
	}
	expected, failure := readAssetOf(ctx, server, "golden.json", left(), func(content []byte) (*golden, error) {
		return readGolden(content, manifest.Dimension)
	})
	if failure != nil {
		return nil, failure
	}
	call := &call{
		encoder: e, manifest: manifest, sentences: expected.sentences,
		result: makeMatrix(len(expected.sentences), manifest.Dimension),
	}
	limited, cancel := context.WithTimeout(ctx, left())
	defer cancel()
	rows := &requestRows{texts: expected.sentences}
	for i := range expected.sentences {
		rows.indices = append(rows.indices, i)
	}
	response, failure := server.infer(limited, call.request(rows, left()))
	if failure != nil {
		return nil, failure
	}
	if failure := call.collect(rows, response); failure != nil {
		return nil, wrongAnswer(server.address, failure)
	}
	smallest := 1.0
	for i, row := range call.result.All() {
		smallest = min(smallest, cosine(row, expected.embeddings.Row(i)))
	}
	// 1e-6 is the noise of float32.
	if smallest < manifest.MinCosine-1e-6 {
		return nil, serverError("the canary failed at %s: the smallest cosine to the golden vectors is %.6f, %s must "+
			"reach %v", server.address, smallest, manifest.Precision, manifest.MinCosine)
	}
	return &HealthReport{manifest, smallest}, nil
}
