package sentriton

import (
	"encoding/json"
	"errors"
	"fmt"
)

// golden is golden.json of a server: sentences with the vectors of sentence-transformers.
type golden struct {
	sentences  []string
	embeddings Matrix
}

// readGolden returns an error if content is content other than sentences, at least one, each with a vector of dimension
// finite numbers.
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
	wrong := fmt.Errorf("its sentence_embedding must be finite numbers of shape [%d, %d]", len(values.Sentences), dimension)
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
