// Rank prints sentences by their similarity to the first: go run ./examples/rank QUERY SENTENCE...
//
// The server is $SENTRITON_URL, or localhost:8001.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"

	sentriton "example.com/sentriton/client/go"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: rank QUERY SENTENCE...")
	}
	if err := rank(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func rank(ctx context.Context, query string, sentences []string) error {
	encoder, err := sentriton.New("")
	if err != nil {
		return err
	}
	defer encoder.Close()
	queries, err := encoder.EncodeQuery(ctx, []string{query})
	if err != nil {
		return err
	}
	documents, err := encoder.EncodeDocument(ctx, sentences)
	if err != nil {
		return err
	}
	scores, err := encoder.Similarity(ctx, queries, documents)
	if err != nil {
		return err
	}
	order := make([]int, len(sentences))
	for i := range order {
		order[i] = i
	}
	row := scores.Row(0)
	slices.SortFunc(order, func(a, b int) int {
		if row[a] > row[b] {
			return -1
		}
		return 1
	})
	for _, i := range order {
		fmt.Printf("%.3f %s\n", row[i], sentences[i])
	}
	return nil
}
