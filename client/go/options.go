package sentriton

import "time"

// Option is a setting of an encoder, for [New]. A setting that is not given comes from its environment variable, such
// as $SENTRITON_TIMEOUT_S, then from its default.
type Option interface {
	apply(*settings) error
}

// EncodeOption is a setting of one call, for the encode methods.
type EncodeOption interface {
	applyToCall(*callOptions) error
}

// callOptions has the settings of one call.
type callOptions struct {
	timeout    time.Duration // 0: the encoder's
	promptName *string
	prompt     *string
	batchSize  int // 0: the manifest's
	dimension  *int
	normalize  bool
}

func resolveCallOptions(options []EncodeOption) (*callOptions, error) {
	resolved := new(callOptions)
	for _, option := range options {
		if err := option.applyToCall(resolved); err != nil {
			return nil, err
		}
	}
	return resolved, nil
}

type optionFunc func(*settings) error

func (f optionFunc) apply(s *settings) error { return f(s) }

type encodeOptionFunc func(*callOptions) error

func (f encodeOptionFunc) applyToCall(o *callOptions) error { return f(o) }

// TimeoutOption is [WithTimeout]: an [Option] for all calls of an encoder, and an [EncodeOption] for one call.
type TimeoutOption struct{ timeout time.Duration }

// WithTimeout bounds a whole call, retries included. Unset, a call has no bound but its context's deadline and
// [WithStallTimeout].
func WithTimeout(timeout time.Duration) TimeoutOption { return TimeoutOption{timeout} }

func (o TimeoutOption) apply(s *settings) error {
	s.timeout = o.bounded()
	return positive("timeout", o.timeout)
}

func (o TimeoutOption) applyToCall(c *callOptions) error {
	c.timeout = o.bounded()
	return positive("timeout", o.timeout)
}

func (o TimeoutOption) bounded() time.Duration { return min(o.timeout, longestTime) }

// WithStallTimeout ends a call if none of its requests is answered for this long. The default is 60 s.
func WithStallTimeout(timeout time.Duration) Option {
	return optionFunc(func(s *settings) error {
		s.stallTimeout = min(timeout, longestTime)
		return positive("stall timeout", timeout)
	})
}

// WithPriority chooses the server's lane. The default is [PriorityQuery].
func WithPriority(priority Priority) Option {
	return optionFunc(func(s *settings) error {
		s.priority = priority
		return nil
	})
}

// WithMaxInFlight bounds the requests of one call that are in flight. The default is 16.
func WithMaxInFlight(requests int) Option {
	return optionFunc(func(s *settings) error {
		s.maxInFlight = requests
		return wholeNumber("max in flight", requests, 0)
	})
}

// WithOnModelChange chooses the reaction to another model on the server. The default is [ModelChangeRaise].
func WithOnModelChange(reaction OnModelChange) Option {
	return optionFunc(func(s *settings) error {
		s.onModelChange = reaction
		return nil
	})
}

// WithTLS turns TLS on or off. A certificate turns it on as well.
func WithTLS(on bool) Option {
	return optionFunc(func(s *settings) error {
		s.tls = on
		return nil
	})
}

// WithRootCertificates names the PEM file of the authorities that the client trusts, and turns TLS on. The default is
// the system's.
func WithRootCertificates(file string) Option {
	return optionFunc(func(s *settings) error {
		s.rootCertificates = file
		return nil
	})
}

// WithClientCertificate names the PEM files of the client's certificate and its key, for mutual TLS, and turns TLS on.
func WithClientCertificate(certificate, key string) Option {
	return optionFunc(func(s *settings) error {
		s.clientCertificate, s.clientKey = certificate, key
		return nil
	})
}

// WithServerName sets the name in the server's certificate, if it differs from the address.
func WithServerName(name string) Option {
	return optionFunc(func(s *settings) error {
		s.serverName = name
		return nil
	})
}

// WithAccessKey sends the access key of the server with every request.
func WithAccessKey(key string) Option {
	return optionFunc(func(s *settings) error {
		s.accessKey = key
		return nil
	})
}

// WithPromptName puts a named prompt of the model before every sentence.
func WithPromptName(name string) EncodeOption {
	return encodeOptionFunc(func(o *callOptions) error {
		o.promptName = &name
		return nil
	})
}

// WithPrompt puts this text before every sentence. It overrides [WithPromptName].
func WithPrompt(text string) EncodeOption {
	return encodeOptionFunc(func(o *callOptions) error {
		o.prompt = &text
		return checkText("prompt", text)
	})
}

// WithBatchSize bounds the rows of one request. The default, and the bound, is the manifest's MaxBatchSize.
func WithBatchSize(rows int) EncodeOption {
	return encodeOptionFunc(func(o *callOptions) error {
		o.batchSize = rows
		return wholeNumber("batch size", rows, 0)
	})
}

// WithTruncateDim keeps the first dimensions of every vector.
func WithTruncateDim(dimensions int) EncodeOption {
	return encodeOptionFunc(func(o *callOptions) error {
		o.dimension = &dimensions // the model has the bound
		return nil
	})
}

// WithNormalizedEmbeddings scales every vector to length 1, after [WithTruncateDim].
func WithNormalizedEmbeddings() EncodeOption {
	return encodeOptionFunc(func(o *callOptions) error {
		o.normalize = true
		return nil
	})
}
