#!/bin/bash
# Runs the test suites one after the other, all of them even if one fails, and ends with each runner's own summary.
#   tests/run.sh [rust] [curl] [python] [node] [deploy]      without arguments: all
# Needs tests/setup.sh first. The output of each suite stays in target/test-logs/.
set -uo pipefail
cd "$(dirname "$0")/.."

logs=target/test-logs
adit=${ADIT_BINARY:-target/debug/adit}
mkdir -p "$logs"

# `cargo test --no-run` builds the binary too. A `cargo build` beside it would compile half of the dependencies twice: without the
# dev-dependencies their features differ.
build() { cargo test --locked --no-run; }
rust() { cargo test --locked --no-fail-fast; }
curl_checks() { .venv/bin/python tests/sdk/python/gateway.py sh -c 'tests/test-openai-api.sh "$ADIT_BASE_URL"'; }
python() { .venv/bin/python -m pytest tests/sdk/python -p no:cacheprovider; }
deploy() { .venv/bin/python -m pytest tests/deploy -p no:cacheprovider; }
node_checks() { .venv/bin/python tests/sdk/python/gateway.py --backends npm --prefix tests/sdk/node test --silent; }

# The lines in which a runner says how it went.
summary() {
    case "$1" in
        rust) awk '/^ *(Running|Doc-tests) / { sub(/^ */, ""); sub(/ \(target.*/, ""); name = $0 } /^test result:/ { print $0 "  [" name "]" }' "$logs/rust.log" ;;
        curl) grep -E '^[0-9]+ passed, [0-9]+ failed' "$logs/curl.log" ;;
        python | deploy) grep -E '^=+ .*(passed|failed|error|skipped).* in .*=+$' "$logs/$1.log" ;;
        node) grep -E '^(#|ℹ) (tests|pass|fail|cancelled|skipped|duration_ms) ' "$logs/node.log" | paste -sd' ' ;;
    esac
}

# suite NAME COMMAND: runs one suite and notes how it ended.
failed=()
ran=()
suite() {
    printf '\n=== %s ===\n' "$1"
    ran+=("$1")
    "$2" </dev/null 2>&1 | tee "$logs/$1.log"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed+=("$1")
}

if [ "$#" -eq 0 ]; then set -- rust curl python node deploy; fi
build || { echo 'the build failed: nothing was tested' >&2; exit 1; }
[ -x "$adit" ] || { echo "$adit is missing: nothing was tested" >&2; exit 1; }
for name in "$@"; do
    case "$name" in
        rust | python | deploy) suite "$name" "$name" ;;
        curl | node) suite "$name" "${name}_checks" ;;
        *) echo "unknown suite: $name" >&2; exit 2 ;;
    esac
done

printf '\n=== summary ===\n'
for name in "${ran[@]}"; do
    printf '%s\n' "-- $name"
    summary "$name" || echo "no summary: see $logs/$name.log"
done
if [ "${#failed[@]}" -gt 0 ]; then
    printf '\nFAILED: %s\n' "${failed[*]}"
    exit 1
fi
printf '\nall suites passed: %s\n' "${ran[*]}"
