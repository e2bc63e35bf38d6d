package sentriton

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"

	"example.com/sentriton/client/go/internal/generated/inference"
)

type answer = *inference.ModelInferResponse

// shaped changes an answer to other numbers, of another shape.
func shaped(shape ...int64) func(answer) {
	return func(a answer) {
		size := int64(4)
		for _, each := range shape {
			size *= each
		}
		a.Outputs[0].Shape = shape
		a.RawOutputContents[0] = []byte(strings.Repeat("\x01", int(size)))
	}
}

func numbered(value float64) func(answer) {
	return func(a answer) {
		binary.LittleEndian.PutUint32(a.RawOutputContents[0][20:], math.Float32bits(float32(value)))
	}
}

var wrongAnswers = map[string]struct {
	change func(answer)
	says   string
}{
	"one row for three": {shaped(1, 4), `shape \[1, 4\]; expected \[3, 4\]`},
	"more rows":         {shaped(4, 4), `shape \[4, 4\]; expected \[3, 4\]`},
	"no rows":           {shaped(0, 4), `shape \[0, 4\]; expected`},
	"one column":        {shaped(3, 1), `shape \[3, 1\]; expected`},
	"more columns":      {shaped(3, 5), `shape \[3, 5\]; expected`},
	"no columns":        {shaped(3), `shape \[3\]; expected`},
	"a third axis":      {shaped(3, 4, 1), `shape \[3, 4, 1\]; expected`},
	"NaN":               {numbered(math.NaN()), `NaN or infinity in row 1; expected numbers`},
	"infinity":          {numbered(math.Inf(-1)), `NaN or infinity in row 1`},
	"integers":          {func(a answer) { a.Outputs[0].Datatype = "INT32" }, `as "INT32"; expected FP32`},
	"cut off": {
		func(a answer) { a.RawOutputContents[0] = a.RawOutputContents[0][:44] }, `44 bytes .*; expected 48`,
	},
	"another output": {func(a answer) { a.Outputs[0].Name = "token_embeddings" }, `outputs "token_embeddings" with`},
	"no content":     {func(a answer) { a.RawOutputContents = nil }, `with 0 contents`},
	"another model's": {
		func(a answer) { a.ModelName = "rerank" }, `model "rerank"; expected embed_text`,
	},
	"nothing": {
		func(a answer) { a.ModelName, a.Outputs, a.RawOutputContents = "", nil, nil },
		`model ""; expected embed_text`,
	},
}

func TestWrongEmbeddingIsRefused(t *testing.T) {
	three := words[:3]
	for name, wrong := range wrongAnswers {
		t.Run(name, func(t *testing.T) {
			server := startSmall(t)
			server.assets["golden.json"] = map[string]any{
				"sentences": three, "sentence_embedding": [][]int{{1, 2, 3, 4}, {1, 1, 1, 1}, {2, 2, 2, 2}},
			}
			encoder := open(t, server.address)
			// Alone, and in a request that calls share.
			for _, options := range [][]EncodeOption{nil, {WithBatchSize(64)}} {
				server.set(func() { server.change = nil })
				found, err := encode(encoder, three, options...)
				wantWords(t, found, err, three)
				server.set(func() { server.change = wrong.change })
				_, err = encode(encoder, three, options...)
				wantError(t, err, ErrServerError, wrong.says)
				address := regexp.QuoteMeta(server.address)
				wantError(t, err, ErrServerError, "^wrong answer from "+address+`: .* \(0 of 3 sentences were embedded\)$`)
			}
			_, err := encoder.Health(context.Background())
			wantError(t, err, ErrServerError, wrong.says)
			if received := server.count(); received != 2*2+1 {
				t.Errorf("%d requests; expected no retry", received)
			}
		})
	}
}

func TestWrongManifestIsTheServersError(t *testing.T) {
	withoutRows := smallManifest()
	withoutRows["max_batch_size"] = nil
	encoded, _ := json.Marshal(withoutRows)
	wrong := map[string]string{
		string(encoded): "max_batch_size is null; expected ", "": "", "{": "", "[]": "", "null": "", "3": "",
		"{}": "lacks name, fingerprint", strings.Repeat("[", 100_000): "",
	}
	for text, says := range wrong {
		t.Run(text[:min(9, len(text))], func(t *testing.T) {
			server := startSmall(t)
			server.assets["manifest.json"] = text
			encoder := open(t, server.address)
			says = regexp.QuoteMeta(server.address) + " sent a manifest.json that this client cannot read: .*" + says
			_, err := encode(encoder, words[:3])
			wantError(t, err, ErrServerError, says)
			_, err = encoder.Health(context.Background())
			wantError(t, err, ErrServerError, says)
		})
	}
}

func TestWrongAssetIsRefused(t *testing.T) {
	element := []byte{2, 0, 0, 0, '{', '}'}
	content := func(raw []byte) func(answer) { return func(a answer) { a.RawOutputContents[0] = raw } }
	wrong := map[string]struct {
		change func(answer)
		says   string
	}{
		"cut off": {content(element[:5]), `in 5 bytes`},
		"short":   {content([]byte{0}), `begin with 0x00; expected shape`},
		"empty":   {content(nil), `in 0 bytes`},
		"two": {func(a answer) {
			a.Outputs[0].Shape, a.RawOutputContents[0] = []int64{2}, append(element, element...)
		}, `shape \[2\] in 12 bytes`},
		"another output": {func(a answer) { a.Outputs[0].Name = "text" }, `outputs "text" with 1 contents; expected content`},
		"numbers":        {func(a answer) { a.Outputs[0].Datatype = "FP32" }, `as "FP32"; expected BYTES`},
		"nothing":        {func(a answer) { a.ModelName, a.Outputs = "", nil }, `model ""; expected assets`},
	}
	for name, each := range wrong {
		t.Run(name, func(t *testing.T) {
			server := startSmall(t)
			server.changeAsset = each.change
			_, err := encode(open(t, server.address), words[:3])
			wantError(t, err, ErrServerError, each.says)
		})
	}
}

func TestWrongGoldenVectorsAreTheServersError(t *testing.T) {
	server := startSmall(t)
	encoder := open(t, server.address)
	for _, text := range []string{
		"{}", "[]", "null", "no JSON",
		`{"sentences": [], "sentence_embedding": []}`,
		`{"sentences": [1], "sentence_embedding": [[1, 1, 1, 1]]}`,
		`{"sentences": [null], "sentence_embedding": [[1, 1, 1, 1]]}`,
		`{"sentences": ["w1"]}`,
		`{"sentences": ["w1"], "sentence_embedding": []}`,
		`{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1]]}`,
		`{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, "1"]]}`,
		`{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, null]]}`,
		`{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, 1e99]]}`,
	} {
		server.set(func() { server.assets["golden.json"] = text })
		_, err := encoder.Health(context.Background())
		wantError(t, err, ErrServerError, "sent a golden.json that this client cannot read: ")
	}
	server.set(func() { server.assets["golden.json"] = `{"sentences": ["w1"], "sentence_embedding": [[2, 2, 2, 2]]}` })
	report, err := encoder.Health(context.Background())
	if err != nil || report.MinCosine < 0.999999 {
		t.Errorf("the report is %+v, the error %v", report, err)
	}
	server.set(func() { server.assets["golden.json"] = `{"sentences": ["w1"], "sentence_embedding": [[2, 2, 2, -2]]}` })
	_, err = encoder.Health(context.Background())
	wantError(t, err, ErrServerError, `canary failed at .* 0\.500000, fp32 must reach 0\.99`)
}

// The entries of the conformance file that need no server.
func TestConformanceWithoutServer(t *testing.T) {
	loaded := loadConformance(t)
	for _, each := range loaded.Answers {
		t.Run("answer: "+each.Case, func(t *testing.T) {
			response := responseOf(each.ModelName, each.Name, each.Datatype, each.Shape, each.Content)
			one := &call{manifest: &Manifest{Dimension: 2}, result: makeMatrix(3, 2)}
			failure := one.collect(&requestRows{indices: []int{0, 1, 2}}, response)
			if each.Case != "right" {
				wantError(t, failure, ErrServerError, `^the server sent .*; expected `)
				return
			}
			if values := one.result.Values(); failure != nil || values[0] != 1 || values[5] != 6 {
				t.Errorf("the values are %v, the error %v", values, failure)
			}
		})
	}
	for _, each := range loaded.WrongFields {
		name := each[0].(string)
		value, _ := json.Marshal(each[1])
		t.Run(name+": "+string(value), func(t *testing.T) {
			manifest := smallManifest()
			encoded, _ := json.Marshal(manifest)
			if _, err := readManifest(encoded); err != nil {
				t.Fatal(err)
			}
			manifest[name] = each[1]
			encoded, _ = json.Marshal(manifest)
			_, err := readManifest(encoded)
			if err == nil || !regexp.MustCompile("^the manifest's "+name+" is .*; expected ").MatchString(err.Error()) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
