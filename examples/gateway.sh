#!/bin/sh
# OpenAI's API with curl: the served model, then two vectors of 8 numbers.
#
#   sentriton serve --gateway-port 8080       # in another terminal
#   sh examples/gateway.sh http://localhost:8080
#
# $SENTRITON_GATEWAY_ACCESS_KEY is the gateway's key, if it has one.
set -eu
ask() {
    curl --silent --show-error --fail-with-body --max-time 60 \
        --header "Authorization: Bearer ${SENTRITON_GATEWAY_ACCESS_KEY:-none}" --header "Content-Type: application/json" "$@"
}
models=$(ask "$1/v1/models")
model=$(printf %s "$models" | sed 's/.*"id":"\([^"]*\)".*/\1/')
echo "model: $model"
ask "$1/v1/embeddings" --data "{
    \"model\": \"$model\",
    \"input\": [\"숙소가 역에서 가까워요.\", \"지하철역 근처 숙소입니다.\"],
    \"dimensions\": 8
}"
echo
