package sentriton

import "math"

// Similarity is a model's function of two embeddings. Higher is more similar.
type Similarity string

// The similarity functions of sentence-transformers. Euclidean and manhattan are negative distances.
const (
	SimilarityCosine    Similarity = "cosine"
	SimilarityDot       Similarity = "dot"
	SimilarityEuclidean Similarity = "euclidean"
	SimilarityManhattan Similarity = "manhattan"
)

var scores = map[Similarity]func(a, b []float32) float64{
	SimilarityCosine:    cosine,
	SimilarityDot:       dot,
	SimilarityEuclidean: euclidean,
	SimilarityManhattan: manhattan,
}

// scoreMatrix scores every row of the first against every row of the second: [n, d] and [m, d] to [n, m].
func scoreMatrix(similarity Similarity, first, second Matrix) (Matrix, error) {
	if first.rows > 0 && second.rows > 0 && first.columns != second.columns {
		return Matrix{}, invalidInput("embeddings of %d and %d dimensions cannot be compared: these must be equal; "+
			"use one model and one truncate dimension for both", first.columns, second.columns)
	}
	score := scores[similarity]
	result := makeMatrix(first.rows, second.rows)
	for i, a := range first.All() {
		row := result.Row(i)
		for j, b := range second.All() {
			row[j] = float32(score(a, b))
		}
	}
	return result, nil
}

// cosine of the angle; 0 with a row of zeros.
func cosine(a, b []float32) float64 {
	return dot(a, b) / (max(length(a), 1e-12) * max(length(b), 1e-12))
}

func length(row []float32) float64 { return math.Sqrt(dot(row, row)) }

func dot(a, b []float32) float64 {
	sum := 0.0
	for i, value := range a {
		sum += float64(value) * float64(b[i])
	}
	return sum
}

func euclidean(a, b []float32) float64 {
	sum := 0.0
	for i, value := range a {
		difference := float64(value) - float64(b[i])
		sum += difference * difference
	}
	return -math.Sqrt(sum)
}

func manhattan(a, b []float32) float64 {
	sum := 0.0
	for i, value := range a {
		sum += math.Abs(float64(value) - float64(b[i]))
	}
	return -sum
}
