//go:build unix

// Bench measures this client for benchmarks.clients: bench URL CALLERS SECONDS, sentences as a JSON list on standard
// input. It embeds the list in one call, then single sentences in CALLERS goroutines for SECONDS, and prints JSON.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sentriton "example.com/sentriton/client/go"
)

const warmUp = time.Second

// figures are rates in sentences per second, and this process's CPU time per sentence in microseconds.
type figures struct {
	List      float64 `json:"list_per_s"`
	ListCPU   float64 `json:"list_cpu_us"`
	Single    float64 `json:"single_per_s"`
	SingleCPU float64 `json:"single_cpu_us"`
}

func main() {
	found, err := measure(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func measure(url, callers, seconds string) (found figures, err error) {
	var sentences []string
	if err := json.NewDecoder(os.Stdin).Decode(&sentences); err != nil {
		return found, err
	}
	goroutines, err := strconv.Atoi(callers)
	if err != nil {
		return found, err
	}
	span, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return found, err
	}
	encoder, err := sentriton.New(url)
	if err != nil {
		return found, err
	}
	defer encoder.Close()
	ctx := context.Background()
	if _, err := encoder.Encode(ctx, sentences[:min(1000, len(sentences))]); err != nil {
		return found, err
	}
	begin, used := time.Now(), cpu()
	if _, err := encoder.Encode(ctx, sentences); err != nil {
		return found, err
	}
	count := float64(len(sentences))
	found.List = count / time.Since(begin).Seconds()
	found.ListCPU = float64((cpu() - used).Microseconds()) / count
	return found, single(ctx, encoder, sentences, goroutines, time.Duration(span*float64(time.Second)), &found)
}

func single(
	ctx context.Context, encoder *sentriton.SentenceEncoder, sentences []string, goroutines int, span time.Duration,
	found *figures,
) error {
	var answers atomic.Int64
	var failure atomic.Value
	end := time.Now().Add(warmUp + span)
	var group sync.WaitGroup
	for caller := range goroutines {
		group.Go(func() {
			for place := caller * 37; time.Now().Before(end); place++ {
				if _, err := encoder.EncodeOne(ctx, sentences[place%len(sentences)]); err != nil {
					failure.Store(err)
					return
				}
				answers.Add(1)
			}
		})
	}
	time.Sleep(warmUp)
	before, begin, used := answers.Load(), time.Now(), cpu()
	time.Sleep(span)
	count := float64(answers.Load() - before)
	found.Single = count / time.Since(begin).Seconds()
	found.SingleCPU = float64((cpu() - used).Microseconds()) / count
	group.Wait()
	if err, failed := failure.Load().(error); failed {
		return err
	}
	return nil
}

// cpu returns the CPU time of this process.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
