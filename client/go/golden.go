package sentriton

import (
	"encoding/json"
	"errors"
	"fmt"
)

// golden is golden.json of a server: sentences, and the vectors that sentence-transformers makes of them.
type golden struct {
	sentences  []string
	embeddings Matrix
}

// readGolden returns an error if content is anything but sentences, at least one, with a vector of dimension finite
// numbers for each.
func readGolden(content []byte, dimension int) (*golden, error) {
	var values struct {
		Sentences []*string    `json:"sentences"`
		Rows      [][]*float32 `json:"sentence_embedding"`
	}
	if err := json.Unmarshal(content, &values); err != nil {
		return nil, err
	}
	if len(values.Sentences) == 0 {
		return nil, errors.New("it has no list of sentences")
	}
	result := &golden{embeddings: makeMatrix(len(values.Sentences), dimension)}
	wrong := fmt.Errorf("its sentence_embedding is not of shape [%d, %d] and finite", len(values.Sentences), dimension)
	if len(values.Rows) != len(values.Sentences) {
		return nil, wrong
	}
	for i, row := range values.Rows {
		if values.Sentences[i] == nil {
			return nil, errors.New("one of its sentences is null")
		}
		result.sentences = append(result.sentences, *values.Sentences[i])
		if len(row) != dimension {
			return nil, wrong
		}
		for j, value := range row {
			if value == nil {
				return nil, wrong
			}
			result.embeddings.Row(i)[j] = *value
		}
	}
	return result, nil
}
