#!/bin/bash
# Puts in place what building and testing need, and nothing twice:
#   tests/setup.sh system    programs: cmake (zlib-ng's build asks for it), make, a C compiler, cargo
#   tests/setup.sh python    .venv with tests/sdk/requirements.txt
#   tests/setup.sh litellm   .venv-litellm with tests/sdk/requirements-litellm.txt
#   tests/setup.sh optillm   .venv-optillm with tests/sdk/requirements-optillm.txt
#   tests/setup.sh node      tests/sdk/node/node_modules by its package-lock.json
#   tests/setup.sh redis     redis-server, or valkey-server where that is there
#   tests/setup.sh curl      curl
# Without arguments: all of them but optillm, which has a make target of its own. What apt-get cannot install here, it names and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# packages NAME...: installs Debian packages, or says which are missing.
packages() {
    local run=()
    if ! command -v apt-get >/dev/null; then
        fail "please install $* with this system's package manager, then run it again"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        # A terminal can be asked for a password; a job cannot.
        if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
            run=(sudo)
        else
            fail "please run as root: apt-get install $*"
        fi
    fi
    say "installing $* with apt-get"
    "${run[@]}" apt-get update -qq || say "apt-get update failed: trying with the lists that are there"
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
        fail "apt-get could not install $*: please install it by hand, then run it again"
}

# program NAME [PACKAGE]: makes sure that a program is there.
program() {
    command -v "$1" >/dev/null || packages "${2:-$1}"
}

set_up_system() {
    program cmake
    program make
    program cc gcc
    if [ -x "$HOME/.cargo/bin/cargo" ]; then PATH="$HOME/.cargo/bin:$PATH"; fi
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs"
}

# The first python3 that the SDKs run on.
find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# environment FOLDER REQUIREMENTS WHAT [FLAG...]: a virtual environment, made anew if the requirements have changed.
environment() {
    local wanted found base
    wanted=$(sha256sum "$2" | cut -d' ' -f1)
    found=$(cat "$1/.requirements" 2>/dev/null || true)
    # The interpreter is tried as well: a moved or copied folder leaves an environment that cannot run.
    if [ "$wanted" = "$found" ] && "$1/bin/python" -c '' 2>/dev/null; then return; fi
    base=$(find_python) || { program python3; base=$(find_python); } || fail "Python 3.11 or newer is missing"
    # Debian ships `venv` without what it needs to put pip into the environment.
    "$base" -c 'import ensurepip, venv' 2>/dev/null || packages "$(basename "$(readlink -f "$base")")-venv"
    say "making $1 with $3"
    rm -rf "$1"
    "$base" -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:4}" -r "$2"
    printf '%s\n' "$wanted" >"$1/.requirements"
}

set_up_python() { environment .venv tests/sdk/requirements.txt 'the Python SDKs'; }

set_up_litellm() { environment .venv-litellm tests/sdk/requirements-litellm.txt 'the LiteLLM proxy'; }

# Without what it names: `pip` would fetch gigabytes.
set_up_optillm() { environment .venv-optillm tests/sdk/requirements-optillm.txt 'an OptiLLM server' --no-deps; }

set_up_node() {
    program node nodejs
    program npm
    node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' || fail "Node 20 or newer is needed, this is $(node --version)"
    local wanted found modules=tests/sdk/node/node_modules
    wanted=$(cat tests/sdk/node/package.json tests/sdk/node/package-lock.json | sha256sum | cut -d' ' -f1)
    found=$(cat "$modules/.lock" 2>/dev/null || true)
    if [ "$wanted" = "$found" ]; then return; fi
    say "installing the Node SDK"
    (cd tests/sdk/node && npm ci --no-progress --loglevel=error >&2)
    printf '%s\n' "$wanted" >"$modules/.lock"
}

set_up_redis() {
    command -v redis-server >/dev/null || command -v valkey-server >/dev/null || packages redis-server
}

if [ "$#" -eq 0 ]; then set -- system redis python litellm node curl; fi
for part in "$@"; do
    case "$part" in
        system | redis | python | litellm | optillm | node) "set_up_$part" ;;
        curl) program curl ;;
        *) fail "unknown part: $part" ;;
    esac
done
