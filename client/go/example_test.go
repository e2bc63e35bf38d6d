package sentriton_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	sentriton "example.com/sentriton/client/go"
)

func ExampleNew() {
	encoder, err := sentriton.New("", // $SENTRITON_URL, or localhost:8001
		sentriton.WithTimeout(20*time.Second),
		sentriton.WithPriority(sentriton.PriorityBulk),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer encoder.Close()
	manifest, err := encoder.Info(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(manifest.Name, manifest.Dimension, manifest.Similarity)
	// Output: small 4 cosine
}

func ExampleSentenceEncoder_Encode() {
	encoder, err := sentriton.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer encoder.Close()
	embeddings, err := encoder.Encode(context.Background(), []string{"w1", "w2", "w3"})
	if err != nil {
		log.Fatal(err)
	}
	for i, row := range embeddings.All() {
		fmt.Println(i, row)
	}
	// Output:
	// 0 [1 1 1 1]
	// 1 [2 2 2 2]
	// 2 [3 3 3 3]
}

func ExampleError() {
	encoder, err := sentriton.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer encoder.Close()
	_, err = encoder.EncodeOne(context.Background(), "w1", sentriton.WithTruncateDim(5))
	switch {
	case errors.Is(err, sentriton.ErrInvalidInput):
		fmt.Println("correct the input:", err)
	case errors.Is(err, sentriton.ErrOverloaded), errors.Is(err, sentriton.ErrServerUnavailable):
		fmt.Println("try again later:", err)
	}
	// Output: correct the input: sentriton: truncate dimension is 5; allowed are 1 to 4
}
