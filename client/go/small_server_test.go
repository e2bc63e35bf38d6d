package sentriton

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/sentriton/client/go/internal/generated/inference"
)

const smallDimension = 4

// words has the sentences of a small server.
var words = func() []string {
	words := make([]string, 4000)
	for i := range words {
		words[i] = fmt.Sprintf("w%d", i)
	}
	return words
}()

var numberOfWord = regexp.MustCompile(`w(\d+)$`)

// smallVector is a small server's answer: the word's number in every dimension, or the length of another text.
func smallVector(text string) []float32 {
	value := float32(len(text))
	if match := numberOfWord.FindStringSubmatch(text); match != nil {
		number, _ := strconv.Atoi(match[1])
		value = float32(number)
	}
	return []float32{value, value, value, value}
}

func smallManifest() map[string]any {
	return map[string]any{
		"name": "small", "fingerprint": strings.Repeat("f", 64), "dimension": smallDimension, "max_seq_length": 32,
		"vocab_size": 4000, "max_batch_size": 64, "pooling": []string{"mean"}, "include_prompt": true,
		"prompts": map[string]string{}, "default_prompt_name": nil, "similarity": "cosine", "precision": "fp32",
		"device": "cpu", "min_cosine": 0.99, "parity": map[string]any{"sentences": 3, "min_cosine": 1},
		"files": map[string]string{"tokenizer.json": strings.Repeat("a", 64)}, "sentriton_version": "0.2.0",
	}
}

// A smallServer speaks the protocol and computes nothing: it answers right, wrongly, late or not at all.
type smallServer struct {
	inference.UnimplementedGRPCInferenceServiceServer
	address string
	server  *grpc.Server
	over    chan struct{}

	mutex       sync.Mutex
	assets      map[string]any // values or text
	change      func(*inference.ModelInferResponse)
	changeAsset func(*inference.ModelInferResponse)
	refuse      func(number int, texts []string) error
	refuseAsset func() error
	delay       time.Duration
	silent      bool
	received    int // requests for embeddings
	asked       int // requests for assets
	inFlight    int
	atOnce      int // the most at a time
	cancelled   int
	rows        []int // of each request
	timeouts    []time.Duration
	headers     []metadata.MD
}

func startSmall(t testing.TB, options ...grpc.ServerOption) *smallServer {
	server := &smallServer{assets: map[string]any{"manifest.json": smallManifest(), "golden.json": map[string]any{}}}
	server.start("127.0.0.1:0", options...)
	t.Cleanup(server.stop)
	return server
}

func startTwo(t testing.TB) (one, other *smallServer, url string) {
	one, other = startSmall(t), startSmall(t)
	return one, other, one.address + "," + other.address
}

func (s *smallServer) start(address string, options ...grpc.ServerOption) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	s.address = listener.Addr().String()
	s.over = make(chan struct{})
	s.server = grpc.NewServer(options...)
	inference.RegisterGRPCInferenceServiceServer(s.server, s)
	go func() { _ = s.server.Serve(listener) }()
}

func (s *smallServer) stop() {
	select {
	case <-s.over:
	default:
		close(s.over)
		s.server.Stop()
	}
}

// set changes the server while it serves.
func (s *smallServer) set(change func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change()
}

func (s *smallServer) count() int { return s.now(&s.received) }

// now reads one of the server's counts while it serves.
func (s *smallServer) now(count *int) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return *count
}

func (s *smallServer) ModelInfer(
	ctx context.Context, request *inference.ModelInferRequest,
) (*inference.ModelInferResponse, error) {
	texts := elements(request.RawInputContents[0])
	if request.ModelName == "assets" {
		s.set(func() { s.asked++; s.inFlight++ })
		defer s.set(func() { s.inFlight-- })
		s.wait(ctx, 0)
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return s.asset(texts[0])
	}
	header, _ := metadata.FromIncomingContext(ctx)
	s.mutex.Lock()
	number, refuse, delay := s.received, s.refuse, s.delay
	s.received++
	s.inFlight++
	s.atOnce = max(s.atOnce, s.inFlight)
	s.rows = append(s.rows, len(texts))
	s.timeouts = append(s.timeouts, time.Duration(request.Parameters["timeout"].GetInt64Param())*time.Microsecond)
	s.headers = append(s.headers, header)
	s.mutex.Unlock()
	defer s.set(func() { s.inFlight-- })
	var refusal error
	if refuse != nil {
		refusal = refuse(number, texts)
	}
	s.wait(ctx, delay)
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if refusal != nil {
		return nil, refusal
	}
	response := embeddingsOf(texts)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.change != nil {
		s.change(response)
	}
	return response, nil
}

func (s *smallServer) asset(name string) (*inference.ModelInferResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.refuseAsset != nil {
		if err := s.refuseAsset(); err != nil {
			return nil, err
		}
	}
	content, isText := s.assets[name].(string)
	if !isText {
		encoded, _ := json.Marshal(s.assets[name])
		content = string(encoded)
	}
	response := responseOf("assets", "content", "BYTES", []int64{1}, bytesTensor([]string{content}))
	if s.changeAsset != nil {
		s.changeAsset(response)
	}
	return response, nil
}

func (s *smallServer) wait(ctx context.Context, delay time.Duration) {
	for end := time.Now().Add(delay); ; {
		s.mutex.Lock()
		waits := time.Now().Before(end) || s.silent
		s.mutex.Unlock()
		if !waits {
			return
		}
		select {
		case <-s.over:
			return
		case <-ctx.Done():
			s.set(func() { s.cancelled++ })
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// silentFrom makes the server silent with its request number first.
func silentFrom(first int, server *smallServer) func(int, []string) error {
	return func(number int, _ []string) error {
		if number == first {
			server.set(func() { server.silent = true })
		}
		return nil
	}
}

func embeddingsOf(texts []string) *inference.ModelInferResponse {
	var raw []byte
	for _, text := range texts {
		for _, value := range smallVector(text) {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(value))
		}
	}
	shape := []int64{int64(len(texts)), smallDimension}
	return responseOf("embed_text", "sentence_embedding", "FP32", shape, raw)
}

func responseOf(model, name, datatype string, shape []int64, raw []byte) *inference.ModelInferResponse {
	return &inference.ModelInferResponse{
		ModelName:         model,
		Outputs:           []*inference.ModelInferResponse_InferOutputTensor{{Name: name, Datatype: datatype, Shape: shape}},
		RawOutputContents: [][]byte{raw},
	}
}

func elements(raw []byte) []string {
	var texts []string
	for len(raw) > 0 {
		size := binary.LittleEndian.Uint32(raw)
		texts = append(texts, string(raw[4:4+size]))
		raw = raw[4+size:]
	}
	return texts
}
