package sentriton

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The kinds of errors. Match them by [errors.Is].
//
//	*Error
//	├── ErrInvalidInput          the caller's argument or request is wrong; a retry cannot help
//	│   └── ErrContractMismatch  the server has another model than the one that the encoder has read
//	├── ErrAccessDenied          key or certificate: one side does not trust the other
//	├── ErrOverloaded            the server's queue is full, or the request waited too long
//	├── ErrServerUnavailable     no server answers at the address, or the server is not healthy
//	├── ErrDeadlineExceeded      the call timed out; context.DeadlineExceeded matches as well
//	├── ErrServerError           the server failed, or its answer is wrong
//	├── ErrClosed                the encoder is closed
//	└── context.Canceled         the caller cancelled the call's context
var (
	ErrInvalidInput      = errors.New("invalid input")
	ErrContractMismatch  = fmt.Errorf("contract mismatch: %w", ErrInvalidInput)
	ErrAccessDenied      = errors.New("access denied")
	ErrOverloaded        = errors.New("overloaded")
	ErrServerUnavailable = errors.New("server unavailable")
	ErrDeadlineExceeded  = errors.New("deadline exceeded")
	ErrServerError       = errors.New("server error")
	ErrClosed            = errors.New("encoder closed")
)

// Error is the type of all errors of this package. Its message names the given value, the
// allowed ones and the remedy.
type Error struct {
	// Kind is one of the sentinels of this package, or [context.Canceled].
	Kind error
	// Message is the text of the error, without the package's name.
	Message string

	cause error
}

// Error returns the message with the package's name before it.
func (e *Error) Error() string { return "sentriton: " + e.Message }

// Unwrap returns the cause: gRPC's error, for [status.FromError] and [status.Code], or the context's; nil if the client
// itself found the error.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether the error is of the kind target, for [errors.Is].
func (e *Error) Is(target error) bool {
	if target == context.DeadlineExceeded {
		return e.Kind == ErrDeadlineExceeded
	}
	return errors.Is(e.Kind, target)
}

func newError(kind error, format string, arguments ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, arguments...)}
}

func invalidInput(format string, arguments ...any) *Error {
	return newError(ErrInvalidInput, format, arguments...)
}

func serverError(format string, arguments ...any) *Error {
	return newError(ErrServerError, format, arguments...)
}

func closedError() *Error {
	return newError(ErrClosed, "this encoder is closed; make a new one")
}

// All other statuses are server errors.
var byStatus = map[codes.Code]error{
	codes.InvalidArgument:   ErrInvalidInput,
	codes.DeadlineExceeded:  ErrDeadlineExceeded,
	codes.NotFound:          ErrServerUnavailable,
	codes.PermissionDenied:  ErrAccessDenied,
	codes.Unauthenticated:   ErrAccessDenied,
	codes.ResourceExhausted: ErrOverloaded,
	codes.Unavailable:       ErrServerUnavailable,
}

// Triton's words, for status codes that say less.
var (
	overload = []string{"lane is full", "exceeds maximum queue size", "request timeout expired"}
	denied   = []string{
		"this protocol is restricted",
		// Go's words for an untrusted server certificate, and the server's words for an untrusted client certificate.
		"failed to verify certificate",
		"tls: certificate required",
		"tls: bad certificate",
		"tls: unknown certificate",
		"tls: expired certificate",
	}
	// A message above a limit: words of the gRPC libraries, of Envoy, and for a proxy's HTTP status.
	tooLarge = []string{
		"message larger than max",
		"decompression larger than max",
		"a size larger than",
		"message exceeds maximum size",
		"message length too large",
		"maximum configured message size",
		"payload too large",
		"status: 413",
		"status code 413",
		"server: 413",
	}
	sick = []string{"is not healthy", "rst_stream", "stream removed"}
)

const (
	// A full /dev/shm: the request was not computed, and answers in flight will free space.
	noRoom = "failed to increase the shared memory pool size"
	// The whole message of a call that a stopping Triton aborts. Calls that this client ends have other messages.
	brokenOff = "CANCELLED"
	mismatch  = "fingerprint mismatch"
)

// gRPC's words before the reason of a missing connection.
var notConnected = regexp.MustCompile(`(?s)^.*connection error: desc = "(?:transport: )?(?:Error while dialing: )?(.*)"$`)

// errorKind returns the kind of error for a gRPC status and the server's message.
func errorKind(code codes.Code, message string) error {
	kind, named := byStatus[code]
	if !named {
		kind = ErrServerError
	}
	text := strings.ToLower(message)
	switch {
	case kind == ErrServerUnavailable && containsAny(text, overload):
		return ErrOverloaded
	case kind == ErrServerUnavailable && containsAny(text, denied):
		return ErrAccessDenied
	case kind == ErrInvalidInput && strings.Contains(text, mismatch):
		return ErrContractMismatch
	case (kind == ErrOverloaded || kind == ErrServerError) && containsAny(text, tooLarge):
		return ErrInvalidInput
	case kind == ErrServerError && strings.Contains(text, noRoom):
		return ErrOverloaded
	case kind == ErrServerError && containsAny(text, sick):
		return ErrServerUnavailable
	case code == codes.Canceled && message == brokenOff:
		return ErrServerUnavailable
	}
	return kind
}

// translate returns the Sentriton error for one of gRPC, with the server's message and address.
func translate(err error, address string) *Error {
	received := status.Convert(err)
	message := received.Message()
	kind := errorKind(received.Code(), message)
	reason := notConnected.ReplaceAllString(message, "$1")
	if reason == "" {
		reason = received.Code().String()
	}
	switch kind {
	case ErrServerUnavailable:
		if strings.Contains(reason, "dial tcp") {
			reason += "; is it running? `sentriton serve` on that machine starts it"
		}
		reason = fmt.Sprintf("no answer from %s: %s", address, reason)
	case ErrAccessDenied:
		if strings.Contains(reason, "access-key") {
			reason += "; give the server's key by WithAccessKey or $SENTRITON_ACCESS_KEY"
		}
		reason = fmt.Sprintf("no access to %s: %s", address, reason)
	case ErrInvalidInput:
		if received.Code() != codes.InvalidArgument {
			reason = fmt.Sprintf("a message to or from %s is too large: %s; lower WithBatchSize or shorten the "+
				"sentences, or raise this limit of the server or proxy", address, reason)
		}
	case ErrDeadlineExceeded:
		reason = fmt.Sprintf("%s did not answer in time: %s", address, reason)
	}
	return &Error{Kind: kind, Message: reason, cause: err}
}

// because sets the cause.
func (e *Error) because(cause error) *Error {
	e.cause = cause
	return e
}

// inRow finds the text of a request in the server's message.
var inRow = regexp.MustCompile(`text in row (\d+) `)

// ofRows names the sentence in an error of the server that names a row. Without indices, the rows have the order of the
// sentences.
func (e *Error) ofRows(indices []int) *Error {
	found := inRow.FindStringSubmatch(e.Message)
	if e.Kind != ErrInvalidInput || found == nil {
		return e
	}
	place, err := strconv.Atoi(found[1])
	if err == nil && place < len(indices) {
		place = indices[place]
	}
	named := e.copied()
	named.Message = strings.Replace(e.Message, found[0], fmt.Sprintf("sentences[%d] ", place), 1)
	return named
}

// copied returns a copy of the error for another caller.
func (e *Error) copied() *Error {
	one := *e
	return &one
}

// withProgress adds the progress of a call with several sentences.
func withProgress(err *Error, finished, total int) *Error {
	if total > 1 {
		err = err.copied()
		err.Message += fmt.Sprintf(" (%s of %s sentences were embedded)", grouped(finished), grouped(total))
	}
	return err
}

// grouped writes 20000 as 20,000.
func grouped(number int) string {
	digits := strconv.Itoa(number)
	for place := len(digits) - 3; place > 0; place -= 3 {
		digits = digits[:place] + "," + digits[place:]
	}
	return digits
}

func containsAny(text string, words []string) bool {
	for _, each := range words {
		if strings.Contains(text, each) {
			return true
		}
	}
	return false
}
