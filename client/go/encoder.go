package sentriton

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	modelChangesPerCall = 3 // servers that keep different models are no roll-out
	// The time in which requests may end by themselves when an encoder closes. A cancellation at an answer can crash
	// Triton 24.10 (issue 7368).
	grace = 100 * time.Millisecond
)

var documentPrompts = []string{"document", "passage", "corpus"}

// SentenceEncoder embeds sentences through a Sentriton server. It is safe for concurrent use.
type SentenceEncoder struct {
	settings  *settings
	endpoints *endpoints
	budget    *retryBudget
	joiner    *joiner
	ctx       context.Context // ends when the encoder closes
	end       context.CancelFunc
	requests  context.Context // ends grace later
	cancel    context.CancelFunc
	running   sync.WaitGroup // goroutines of this encoder

	mutex   sync.Mutex
	window  *window // for the next call
	reading *reading
	closed  bool
}

// New returns an encoder for the server at url: host:port, several addresses separated by commas, or dns:///host:port.
// If url is empty, it is $SENTRITON_URL or localhost:8001. The first call connects and reads the model's manifest.
// Wrong settings are an [ErrInvalidInput]. Close the encoder after use.
func New(url string, options ...Option) (*SentenceEncoder, error) {
	settings, err := resolveSettings(url, options)
	if err != nil {
		return nil, err
	}
	encoder := &SentenceEncoder{
		settings:  settings,
		endpoints: new(endpoints),
		budget:    newRetryBudget(),
		window:    newWindow(settings.maxInFlight),
	}
	encoder.ctx, encoder.end = context.WithCancel(context.Background())
	encoder.requests, encoder.cancel = context.WithCancel(context.Background())
	encoder.joiner = newJoiner(encoder)
	for _, address := range settings.addresses {
		connection, err := newConnection(encoder.ctx, address, settings)
		if err != nil {
			_ = encoder.Close()
			return nil, err
		}
		encoder.endpoints.all = append(encoder.endpoints.all, &endpoint{connection: connection})
	}
	return encoder, nil
}

// URL returns the address or addresses of the server.
func (e *SentenceEncoder) URL() string { return e.settings.url }

// Encode embeds sentences: a row of the model's dimension for each, in order. The errors are of the type *[Error];
// [ErrInvalidInput] is returned before the first request. Calls of up to eight sentences that goroutines make at the
// same time share requests.
func (e *SentenceEncoder) Encode(ctx context.Context, sentences []string, options ...EncodeOption) (Matrix, error) {
	return e.encode(ctx, sentences, nil, options)
}

// EncodeQuery is [SentenceEncoder.Encode] with the model's prompt "query", if it has one and no other is given.
func (e *SentenceEncoder) EncodeQuery(
	ctx context.Context, sentences []string, options ...EncodeOption,
) (Matrix, error) {
	return e.encode(ctx, sentences, []string{"query"}, options)
}

// EncodeDocument is [SentenceEncoder.Encode] with the first of the prompts "document", "passage" and "corpus" that the
// model has, if no other is given.
func (e *SentenceEncoder) EncodeDocument(
	ctx context.Context, sentences []string, options ...EncodeOption,
) (Matrix, error) {
	return e.encode(ctx, sentences, documentPrompts, options)
}

// EncodeOne is [SentenceEncoder.Encode] for one sentence.
func (e *SentenceEncoder) EncodeOne(ctx context.Context, sentence string, options ...EncodeOption) ([]float32, error) {
	return only(e.encode(ctx, []string{sentence}, nil, options))
}

// EncodeOneQuery is [SentenceEncoder.EncodeQuery] for one sentence.
func (e *SentenceEncoder) EncodeOneQuery(
	ctx context.Context, sentence string, options ...EncodeOption,
) ([]float32, error) {
	return only(e.encode(ctx, []string{sentence}, []string{"query"}, options))
}

// EncodeOneDocument is [SentenceEncoder.EncodeDocument] for one sentence.
func (e *SentenceEncoder) EncodeOneDocument(
	ctx context.Context, sentence string, options ...EncodeOption,
) ([]float32, error) {
	return only(e.encode(ctx, []string{sentence}, documentPrompts, options))
}

// Similarity scores every row of first against every row of second by the model's similarity function: [n, d] and [m,
// d] to [n, m]. Higher is more similar. It is an [ErrInvalidInput] if d differs.
func (e *SentenceEncoder) Similarity(ctx context.Context, first, second Matrix) (Matrix, error) {
	manifest, err := e.Info(ctx)
	if err != nil {
		return Matrix{}, err
	}
	return scoreMatrix(manifest.Similarity, first, second)
}

// Close closes the connections and waits for the encoder's goroutines. Calls in progress and later calls fail with
// [ErrClosed]. Close cancels requests that are still in flight after 100 ms. Its error is always nil.
func (e *SentenceEncoder) Close() error {
	e.mutex.Lock()
	e.closed = true
	e.mutex.Unlock()
	e.end()
	cancels := time.AfterFunc(grace, e.cancel)
	e.running.Wait()
	cancels.Stop()
	e.cancel()
	for _, each := range e.endpoints.all {
		// Its only error is that it is closed already.
		_ = each.connection.channel.Close()
	}
	return nil
}

func (e *SentenceEncoder) encode(
	ctx context.Context, sentences, prompts []string, given []EncodeOption,
) (Matrix, error) {
	options, err := resolveCallOptions(given)
	if err != nil {
		return Matrix{}, err
	}
	if err := checkTexts(sentences); err != nil {
		return Matrix{}, err
	}
	deadline := e.deadline(ctx, options.timeout)
	ctx, done := callContext(ctx, e.ctx)
	defer done()
	for changes := 1; ; changes++ {
		reading, failure := e.manifest(ctx, deadline)
		if failure != nil {
			return Matrix{}, failure
		}
		call, err := newCall(e, reading.manifest, sentences, prompts, options, deadline)
		if err != nil {
			return Matrix{}, err
		}
		if failure = call.run(ctx); failure == nil {
			return call.result, nil
		}
		again := failure.Kind == ErrContractMismatch && e.settings.onModelChange == ModelChangeReload
		if !again || changes > modelChangesPerCall {
			return Matrix{}, failure
		}
		e.forget(reading)
	}
}

func (e *SentenceEncoder) deadline(ctx context.Context, timeout time.Duration) *deadline {
	if timeout == 0 {
		timeout = e.settings.timeout
	}
	return newDeadline(ctx, timeout, e.settings.stallTimeout, time.Now())
}

// spawn starts a goroutine that Close waits for; false if the encoder is closed.
func (e *SentenceEncoder) spawn(task func()) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.closed {
		return false
	}
	e.running.Go(task)
	return true
}

// requestContext returns a context for the requests of a call, which end with the call. If the encoder has closed, they
// may last until the end of e.requests.
func (e *SentenceEncoder) requestContext(call context.Context) (context.Context, func()) {
	own, cancel := context.WithCancel(context.WithoutCancel(call))
	leave := context.AfterFunc(e.requests, cancel)
	return own, func() {
		if e.ctx.Err() == nil {
			leave()
			cancel()
		}
	}
}

// nextWindow returns a window with the final state of the last call's.
func (e *SentenceEncoder) nextWindow() *window {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.window.next()
}

func (e *SentenceEncoder) keepWindow(last *window) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.window = last
}

func only(rows Matrix, err error) ([]float32, error) {
	if err != nil {
		return nil, err
	}
	return rows.Row(0), nil
}

// firstPrompt returns the first of the names that the model has a prompt for.
func firstPrompt(manifest *Manifest, names []string) (string, bool) {
	place := slices.IndexFunc(names, func(name string) bool {
		_, found := manifest.Prompts[name]
		return found
	})
	if place < 0 {
		return "", false
	}
	return names[place], true
}
