// Package sentriton gets sentence embeddings from a Sentriton server over gRPC. The server tokenizes, so the package
// needs no model files and no cgo.
//
//	encoder, err := sentriton.New("localhost:8001")
//	if err != nil {
//		return err
//	}
//	defer encoder.Close()
//	embeddings, err := encoder.Encode(ctx, []string{"A first sentence.", "And a second one."})
//
// A [SentenceEncoder] is safe for concurrent use by any number of goroutines. It retries, spreads its requests over
// several servers and checks every answer. All of its errors are of the type *[Error] and match one of the sentinels
// such as [ErrOverloaded] by [errors.Is].
package sentriton
