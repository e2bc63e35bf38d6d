package sentriton

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"example.com/sentriton/client/go/internal/generated/inference"
)

// parameters are those of a request to embed_text.
type parameters struct {
	fingerprint string        // the expected model
	priority    Priority      // the lane
	timeout     time.Duration // the longest wait in the server's queue
}

// textRequest is a request to embed_text: text BYTES [rows, 1].
func textRequest(texts []string, given parameters) *inference.ModelInferRequest {
	request := bytesRequest("embed_text", "text", []int64{int64(len(texts)), 1}, texts)
	microseconds := max(1, given.timeout.Microseconds())
	request.Parameters = map[string]*inference.InferParameter{
		"fingerprint": stringParameter(given.fingerprint),
		"lane":        stringParameter(string(given.priority)),
		"timeout": {ParameterChoice: &inference.InferParameter_Int64Param{
			Int64Param: microseconds,
		}},
	}
	return request
}

// assetRequest is a request to assets: name BYTES [1].
func assetRequest(name string) *inference.ModelInferRequest {
	return bytesRequest("assets", "name", []int64{1}, []string{name})
}

func stringParameter(value string) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: value}}
}

func bytesRequest(model, name string, shape []int64, texts []string) *inference.ModelInferRequest {
	return &inference.ModelInferRequest{
		ModelName: model,
		Inputs: []*inference.ModelInferRequest_InferInputTensor{
			{Name: name, Datatype: "BYTES", Shape: shape},
		},
		RawInputContents: [][]byte{bytesTensor(texts)},
	}
}

// bytesTensor returns the elements, each as its length in 4 bytes, little-endian, and its UTF-8.
func bytesTensor(texts []string) []byte {
	size := 0
	for _, text := range texts {
		size += 4 + len(text)
	}
	tensor := make([]byte, 0, size)
	for _, text := range texts {
		tensor = binary.LittleEndian.AppendUint32(tensor, uint32(len(text)))
		tensor = append(tensor, text...)
	}
	return tensor
}

// readEmbeddings returns the bytes of the sentence_embedding of a response of embed_text: FP32 [rows, dimension]. Numbers
// are checked row by row: see decodeRow.
func readEmbeddings(response *inference.ModelInferResponse, rows, dimension int) ([]byte, *Error) {
	shape, raw, err := output(response, "sentence_embedding", "FP32", "embed_text")
	if err != nil {
		return nil, err
	}
	if len(shape) != 2 || shape[0] != int64(rows) || shape[1] != int64(dimension) {
		return nil, serverError("the server sent a sentence_embedding of shape %s; expected [%d, %d]",
			shown(shape), rows, dimension)
	}
	if size := rows * dimension * 4; len(raw) != size {
		return nil, serverError("the server sent %d bytes for a sentence_embedding; expected %d", len(raw), size)
	}
	return raw, nil
}

// decodeRow fills the row with the first of these floats of 4 bytes, little-endian. None of them may be NaN or infinity,
// which have all bits of the exponent.
func decodeRow(row []float32, raw []byte) bool {
	const exponent = 0x7f80_0000
	for i := 0; 4*i+4 <= len(raw); i++ {
		bits := binary.LittleEndian.Uint32(raw[4*i:])
		if bits&exponent == exponent {
			return false
		}
		if i < len(row) {
			row[i] = math.Float32frombits(bits)
		}
	}
	return true
}

func notFinite(row int) *Error {
	return serverError("the server sent a sentence_embedding with NaN or infinity in row %d; expected numbers", row)
}

// readAsset returns the content of a response of assets: BYTES [1].
func readAsset(response *inference.ModelInferResponse) ([]byte, *Error) {
	shape, raw, err := output(response, "content", "BYTES", "assets")
	if err != nil {
		return nil, err
	}
	one := len(shape) == 1 && shape[0] == 1
	if !one || len(raw) < 4 || uint64(binary.LittleEndian.Uint32(raw)) != uint64(len(raw)-4) {
		return nil, serverError("the server sent an asset of shape %s in %d bytes that begin with 0x%x; "+
			"expected shape [1], the first 4 bytes being the length of the rest",
			shown(shape), len(raw), raw[:min(4, len(raw))])
	}
	return raw[4:], nil
}

// output returns shape and bytes of the output of this name, which must have this datatype and come from this model.
func output(response *inference.ModelInferResponse, name, datatype, model string) ([]int64, []byte, *Error) {
	if response.ModelName != model {
		return nil, nil, serverError("the server sent an answer of the model %q; expected %s", response.ModelName, model)
	}
	var names []string
	place, count := 0, 0
	for i, each := range response.Outputs {
		names = append(names, fmt.Sprintf("%q", each.Name))
		if each.Name == name {
			place = i
			count++
		}
	}
	if contents := len(response.RawOutputContents); count != 1 || contents != len(names) {
		if len(names) == 0 {
			names = []string{"none"}
		}
		return nil, nil, serverError("the server sent the outputs %s with %d contents; expected %s once, and a content "+
			"for each output", strings.Join(names, ", "), contents, name)
	}
	found := response.Outputs[place]
	if found.Datatype != datatype {
		return nil, nil, serverError("the server sent %s as %q; expected %s", name, found.Datatype, datatype)
	}
	return found.Shape, response.RawOutputContents[place], nil
}

// shown writes a shape as [3, 4].
func shown(shape []int64) string {
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")
}
