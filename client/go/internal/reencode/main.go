// Reencode reads [[message name, base64]] from standard input, decodes each by the generated code, and writes the list
// with the messages encoded again.
package main

import (
	"encoding/json"
	"log"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"example.com/sentriton/client/go/internal/generated/inference"
)

func main() {
	var given [][2]any
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		log.Fatal(err)
	}
	for i, each := range given {
		again, err := reencode(each[0].(string), each[1].(string))
		if err != nil {
			log.Fatal(err)
		}
		given[i][1] = again
	}
	if err := json.NewEncoder(os.Stdout).Encode(given); err != nil {
		log.Fatal(err)
	}
}

func reencode(name, encoded string) ([]byte, error) {
	full := inference.File_inference_inference_proto.Package().Append(protoreflect.Name(name))
	kind, err := protoregistry.GlobalTypes.FindMessageByName(full)
	if err != nil {
		return nil, err
	}
	var raw []byte // encoding/json reads base64 into bytes
	if err := json.Unmarshal([]byte(`"`+encoded+`"`), &raw); err != nil {
		return nil, err
	}
	message := kind.New().Interface()
	if err := proto.Unmarshal(raw, message); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(message)
}
