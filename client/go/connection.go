package sentriton

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver/dns"
	"google.golang.org/grpc/status"

	"example.com/sentriton/client/go/internal/generated/inference"
)

// Triton adds "triton-grpc-protocol-" to the name.
const accessHeader = "triton-grpc-protocol-access-key"

func init() {
	// Finds moved servers soon. By default, gRPC re-resolves a name at most every 30 s. gRPC has this setting only per
	// process, and it must precede the first channel.
	dns.SetMinResolutionInterval(5 * time.Second)
}

// A connection is a channel to one address.
type connection struct {
	address   string
	accessKey string
	lastLook  lastLook
	channel   *grpc.ClientConn
	client    inference.GRPCInferenceServiceClient
}

// newConnection returns a connection of an encoder, whose context ends when it closes.
func newConnection(encoder context.Context, address string, settings *settings) (*connection, error) {
	security, err := transportCredentials(settings)
	if err != nil {
		return nil, err
	}
	look := lastLook{encoder}
	channel, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(security),
		grpc.WithPerRPCCredentials(look),
		// gRPC's own limit is 4 MB, 1,000 vectors of 1,024 dimensions.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		// Detects a connection that a firewall or a dead node has dropped, before the deadline of a call.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// Reconnects soon after an outage. By default, gRPC's back-off grows to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		// The client retries by itself, within its deadline and budget.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	)
	if err != nil {
		return nil, invalidInput("url has the address %s, which gRPC rejects: %v; give host:port", address, err).because(err)
	}
	client := inference.NewGRPCInferenceServiceClient(channel)
	return &connection{address, settings.accessKey, look, channel, client}, nil
}

// infer sends one request and waits for its response. The end of ctx cancels the request, on the server too. Nothing is
// sent if ctx has ended or ends very soon, or the encoder is closed.
func (c *connection) infer(
	ctx context.Context, request *inference.ModelInferRequest,
) (*inference.ModelInferResponse, *Error) {
	if err := c.lastLook.ending(ctx); err != nil {
		return nil, c.failed(err)
	}
	if c.accessKey != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, accessHeader, c.accessKey)
	}
	response, err := c.client.ModelInfer(ctx, request)
	if err != nil {
		return nil, c.failed(err)
	}
	return response, nil
}

func (c *connection) failed(err error) *Error {
	if c.lastLook.encoder.Err() != nil {
		return closedError()
	}
	return translate(err, c.address)
}

// lastLook is asked for metadata once a request has a connection, which may have taken most of its time.
type lastLook struct{ encoder context.Context }

func (l lastLook) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	return nil, l.ending(ctx)
}

func (lastLook) RequireTransportSecurity() bool { return false }

// ending returns the status of a request that ctx leaves no time for, or whose encoder is closed; nil if it may leave.
func (l lastLook) ending(ctx context.Context) error {
	reason := cmp.Or(l.encoder.Err(), ctx.Err())
	if end, ok := ctx.Deadline(); ok && reason == nil && time.Until(end) < leastTime {
		reason = context.DeadlineExceeded
	}
	return status.FromContextError(reason).Err()
}

// readAssetOf fetches an asset and reads it. A wrong one is an ErrServerError that names server and file.
func readAssetOf[T any](
	ctx context.Context, from *connection, name string, timeout time.Duration, read func([]byte) (T, error),
) (T, *Error) {
	var nothing T
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, failure := from.infer(ctx, assetRequest(name))
	if failure != nil {
		return nothing, failure
	}
	content, failure := readAsset(response)
	if failure != nil {
		return nothing, wrongAnswer(from.address, failure)
	}
	value, err := read(content)
	if err != nil {
		failure = serverError("%s sent a %s that this client cannot read: %v", from.address, name, err)
		return nothing, failure.because(err)
	}
	return value, nil
}

// wrongAnswer names the server of an answer that readEmbeddings or readAsset rejected.
func wrongAnswer(address string, failure *Error) *Error {
	return newError(failure.Kind, "wrong answer from %s: %s", address, failure.Message).because(failure.cause)
}

func transportCredentials(settings *settings) (credentials.TransportCredentials, error) {
	if !settings.tls {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{ServerName: settings.serverName, MinVersion: tls.VersionTLS12}
	if file := settings.rootCertificates; file != "" {
		content, err := readPEM(file)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, invalidInput("the root certificates %s have no certificate; give a PEM file of certificates", file)
		}
	}
	if settings.clientCertificate != "" {
		pair, err := clientPair(settings.clientCertificate, settings.clientKey)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

func clientPair(certificate, key string) (tls.Certificate, error) {
	var contents [2][]byte
	for i, file := range []string{certificate, key} {
		content, err := readPEM(file)
		if err != nil {
			return tls.Certificate{}, err
		}
		contents[i] = content
	}
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		failure := invalidInput("the client certificate %s and the key %s do not work: %v; give PEM files of one pair",
			certificate, key, err)
		return pair, failure.because(err)
	}
	return pair, nil
}

func readPEM(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		failure := invalidInput("cannot read the certificate file %s: %v; give the path of a PEM file", file, err)
		return nil, failure.because(err)
	}
	return content, nil
}
