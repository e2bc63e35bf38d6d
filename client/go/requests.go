package sentriton

import (
	"iter"
	"slices"
	"unicode/utf8"
)

const (
	tokensPerRequest = 4096
	specialTokens    = 2       // of a row, with most models
	bytesPerRequest  = 1 << 20 // of UTF-8: the server's limit
)

// requestRows is the rows of one request: the places of its sentences, and their texts.
type requestRows struct {
	indices    []int
	texts      []string
	characters int
}

// limits are those of one request.
type limits struct {
	maxRows      int
	maxSeqLength int
	prompt       string
}

// planRequests divides texts into requests of at most maxRows rows, 4,096 tokens and 1 MiB of UTF-8, longest first; one
// row may have more. The server tokenizes, so each character counts as a token, up to maxSeqLength. At worst, this
// gives a few more requests.
func planRequests(texts []string, limits limits) iter.Seq[requestRows] {
	lengths := make([]int, len(texts))
	order := make([]int, len(texts))
	for i, text := range texts {
		lengths[i] = utf8.RuneCountInString(text)
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return lengths[b] - lengths[a] })
	ofPrompt := utf8.RuneCountInString(limits.prompt)
	return func(yield func(requestRows) bool) {
		var rows requestRows
		tokens, bytes := 0, 0
		for _, index := range order {
			rowTokens := min(ofPrompt+lengths[index]+specialTokens, limits.maxSeqLength)
			rowBytes := len(limits.prompt) + len(texts[index])
			full := len(rows.indices) == limits.maxRows || tokens+rowTokens > tokensPerRequest ||
				bytes+rowBytes > bytesPerRequest
			if full && len(rows.indices) > 0 {
				if !yield(rows) {
					return
				}
				rows, tokens, bytes = requestRows{}, 0, 0
			}
			rows.indices = append(rows.indices, index)
			rows.texts = append(rows.texts, limits.prompt+texts[index])
			rows.characters += ofPrompt + lengths[index]
			tokens += rowTokens
			bytes += rowBytes
		}
		if len(rows.indices) > 0 {
			yield(rows)
		}
	}
}
