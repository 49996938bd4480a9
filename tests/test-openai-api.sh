#!/bin/sh
# Nine checks of an OpenAI-compatible gateway, with nothing but curl:
#
#     tests/test-openai-api.sh http://127.0.0.1:8080
#
# OPENAI_API_KEY is sent as a bearer token if it is set. MODEL is the model to ask (claude-3-haiku). TIMEOUT is the time for one request, in seconds (60).
# One line for each check, a summary at the end; the exit code is 0 if all have passed, 1 if not, 2 for wrong usage.

set -u

if [ $# -ne 1 ]; then
    echo "usage: $0 BASE_URL     (for example http://127.0.0.1:8080)" >&2
    exit 2
fi
command -v curl >/dev/null || { echo "$0: curl is not installed" >&2; exit 2; }

base=${1%/}
base=${base%/v1}
model=${MODEL:-claude-3-haiku}
timeout=${TIMEOUT:-60}
# The key as a quoted string of curl's configuration.
key=$(printf '%s' "${OPENAI_API_KEY:-}" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g')
passed=0
failed=0
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# request METHOD PATH [BODY]: sets $status, $body (as it came) and $flat (without white space, so that patterns need not care about formatting).
request() {
    # The key goes through standard input, so that it does not show in the list of processes.
    status=$(
        if [ -n "${OPENAI_API_KEY:-}" ]; then printf 'header = "Authorization: Bearer %s"\n' "$key"; fi |
            curl --config - --silent --show-error --no-buffer --max-time "$timeout" --request "$1" --header 'Content-Type: application/json' \
                ${3:+--data-raw "$3"} --output "$scratch/body" --write-out '%{http_code}' "$base$2" 2>"$scratch/error"
    ) || status="no answer: $(cat "$scratch/error")"
    body=$(cat "$scratch/body" 2>/dev/null)
    rm -f "$scratch/body"
    flat=$(printf '%s' "$body" | tr -d ' \t\r\n')
}

chat() { request POST /v1/chat/completions "{\"model\":\"$model\",\"max_tokens\":200,$1}"; }

# has PATTERN…: whether each pattern (basic regular expression) is in the answer.
has() {
    for pattern in "$@"; do
        printf '%s\n' "$flat" | grep -q -e "$pattern" || { missing=$pattern; return 1; }
    done
}

# expect NAME STATUS PATTERN…: judges the last request.
expect() {
    name=$1
    wanted=$2
    shift 2
    missing=
    if [ "$status" != "$wanted" ]; then
        report "$name" "status $status, expected $wanted: $(printf '%s' "$body" | head -c 300 | tr '\n' ' ')"
    elif has "$@"; then
        report "$name" ""
    else
        report "$name" "the answer has no $missing: $(printf '%s' "$body" | head -c 300 | tr '\n' ' ')"
    fi
}

# report NAME FAULT: an empty fault is none.
report() {
    if [ -z "$2" ]; then
        passed=$((passed + 1))
        echo "ok    $1"
    else
        failed=$((failed + 1))
        echo "FAIL  $1: $2"
    fi
}

# A message with text in it, and an end.
answered='"message":{.*"content":"[^"]'
finished='"finish_reason":"\(stop\|length\)"'

request GET /health
expect "health" 200 '"status":"\(healthy\|ok\)"'

request GET /v1/models
expect "models" 200 '"object":"list"' '"object":"model"' '"id":"[^"]'

request GET "/v1/models/$(printf '%s' "$model" | sed -e 's/%/%25/g' -e 's/:/%3A/g' -e 's,/,%2F,g')"
expect "one model" 200 '"object":"model"' "\"id\":\"$(printf '%s' "$model" | sed -e 's/[].[*^$\/]/\\&/g')\""

chat '"messages":[{"role":"user","content":"Say hello."}]'
expect "chat" 200 '"object":"chat.completion"' '"role":"assistant"' "$answered" "$finished" '"prompt_tokens":[1-9]' '"completion_tokens":[1-9]'

chat '"messages":[{"role":"system","content":"You answer in one short sentence."},{"role":"user","content":"What is an adit?"}]'
expect "system message" 200 "$answered" "$finished"

chat '"messages":[{"role":"user","content":"My name is Ada."},{"role":"assistant","content":"Hello, Ada."},{"role":"user","content":"What is my name?"}]'
expect "multi-turn" 200 "$answered" "$finished"

chat '"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Count from one to five."}]'
expect "stream" 200 'data:{' '"object":"chat.completion.chunk"' '"delta":{[^}]*"content":"[^"]' "$finished" '"usage":{' 'data:\[DONE\]$'

chat '"tools":[{"type":"function","function":{"name":"get_weather","description":"The weather of a city","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}],"tool_choice":"required","messages":[{"role":"user","content":"What is the weather in Paris?"}]'
expect "tool call" 200 '"tool_calls":\[{' '"name":"get_weather"' '"arguments":"{.*city' '"finish_reason":"tool_calls"'

request POST /v1/chat/completions '{"model":"no-such-model-at-all","messages":[{"role":"user","content":"Hello"}]}'
case $status in
400 | 404) wanted=$status ;;
*) wanted="400 or 404" ;;
esac
expect "error" "$wanted" '"error":{' '"message":"[^"]' '"type":"[^"]'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
