// Callers embeds single sentences in 64 goroutines: callers URL CONFORMANCE CALLS [SECONDS]
//
// Every caller makes CALLS calls, and continues for at least SECONDS. "answered" is written to standard output with the
// first 64 answers. The last line is JSON: the number of calls, the failures, and the smallest cosine to the golden
// vectors.
package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	sentriton "example.com/sentriton/client/go"
)

const callers = 64

type result struct {
	Calls     int      `json:"calls"`
	Failures  []string `json:"failures"`
	MinCosine float64  `json:"minCosine"`
}

type sentence struct {
	Text   string `json:"text"`
	Vector string `json:"vector"`
}

func main() {
	found, err := call(os.Args[1:])
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func call(arguments []string) (*result, error) {
	arguments = append(arguments, "0")
	sentences, err := load(arguments[1])
	if err != nil {
		return nil, err
	}
	calls, err := strconv.Atoi(arguments[2])
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseFloat(arguments[3], 64)
	if err != nil {
		return nil, err
	}
	encoder, err := sentriton.New(arguments[0], sentriton.WithTimeout(time.Minute))
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	if _, err := encoder.Info(context.Background()); err != nil {
		return nil, err
	}
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	found := &result{Failures: []string{}, MinCosine: 1}
	var mutex sync.Mutex
	var group sync.WaitGroup
	for _, one := range sentences[:callers] {
		group.Go(func() {
			expected := decode(one.Vector)
			for made := 0; made < calls || time.Now().Before(end); made++ {
				vector, err := encoder.EncodeOne(context.Background(), one.Text)
				mutex.Lock()
				found.note(vector, expected, err)
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	return found, nil
}

func (r *result) note(vector, expected []float32, err error) {
	if r.Calls++; r.Calls == callers {
		fmt.Println("answered")
	}
	if err != nil {
		r.Failures = append(r.Failures, err.Error())
		return
	}
	r.MinCosine = min(r.MinCosine, dot(vector, expected)/math.Sqrt(dot(vector, vector)*dot(expected, expected)))
}

func load(file string) ([]sentence, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var values struct {
		Sentences []sentence `json:"sentences"`
	}
	return values.Sentences, json.Unmarshal(content, &values)
}

func decode(text string) []float32 {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		log.Fatal(err)
	}
	vector := make([]float32, len(raw)/4)
	for i := range vector {
		vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return vector
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
