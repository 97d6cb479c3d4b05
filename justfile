# How Fastness is built, run and checked. `just` lists the recipes; those with `_` do their set-up.
# Needs Rust (with clippy and rustfmt) and Node 20 or newer. Everything else comes by cargo, npm and apt-get.

set shell := ["bash", "-euo", "pipefail", "-c"]

target := arch() + "-unknown-linux-gnu"
dist_binary := justfile_directory() / "target" / target / "dist" / "fastness"
contract_python := "target/contract/venv/bin/python"
dist_bytes_max := "17000000"
here := just_executable() + " --justfile " + quote(justfile())

# List the recipes
[private]
default:
    @{{ here }} --list --unsorted

# Build the console, then the binary that carries it: target/release/fastness
build: _web
    cargo build --locked --release

# See it work, without a network: two enclaves, a run, a bundle, its verification and replay
demo *arguments: build
    target/release/fastness demo {{ arguments }}

# Run a development server; its data is kept in target/serve
serve *arguments: _web
    cargo run --locked -- serve --data target/serve {{ arguments }}

# Everything that must hold before a change is merged
test: _tools _test-packages _web-modules
    #!/usr/bin/env bash
    set -euo pipefail
    logs=target/check
    rm -rf "$logs" && mkdir -p "$logs"
    for step in web-test fmt-check lint unit docs audit dist test-standalone test-contract test-clients test-browser; do
        printf '\n==> %s\n' "$step"
        begin=$SECONDS
        if ! {{ here }} "$step" 2>&1 | tee "$logs/$step.log"; then
            printf '\n==> %s failed; its output is in %s\n' "$step" "$logs/$step.log" >&2
            exit 1
        fi
        printf '==> %s took %s s\n' "$step" "$((SECONDS - begin))"
    done
    # What the test runners themselves said at their end, together.
    printf '\n==> all steps passed in %s s\n' "$SECONDS"
    cat "$logs"/{web-test,unit,test-standalone,test-contract,test-clients,test-browser}.log | sed 's/\x1b\[[0-9;]*m//g' \
        | grep -E '^(test result: |(# |ℹ )(tests|pass|fail|skipped) [0-9]+$| +(Test Files|Tests) )|^(standalone|contract|clients): '

# What CI runs: the same
check: test

# Types, unit tests and size budgets of the console
web-test: _web
    npm --prefix web run check
    npm --prefix web test

# Format the Rust sources
fmt:
    cargo fmt

# Fail when the Rust sources are not formatted
fmt-check:
    cargo fmt --check

# Clippy, with warnings denied
lint:
    cargo clippy --locked --all-targets -- -D warnings

# The Rust tests: units, the integration binary (house rules, licences and bans among it), examples in docs
unit *arguments:
    cargo test --locked {{ arguments }}

# The API documentation, with warnings denied
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Known advisories, by cargo-deny; licences and bans are held by `just unit` without it
audit:
    #!/usr/bin/env bash
    set -euo pipefail
    databases="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs"
    if ! cargo deny --version >/dev/null 2>&1; then
        echo "advisories: NOT RUN, cargo-deny is not installed (licences and bans are checked by the tests)"
    elif [ -z "$(ls -A "$databases" 2>/dev/null)" ]; then
        echo "advisories: NOT RUN, there is no advisory database in $databases"
        cargo deny --offline --locked check bans licenses sources
    else
        cargo deny --offline --locked check
    fi

# The binary that ships: static, stripped, the same bytes wherever it is built; checked to be so
dist: _web
    #!/usr/bin/env bash
    set -euo pipefail
    # With --target the flags reach only what goes into the binary, not build scripts and macros, which are
    # shared libraries. Paths of this machine would make the bytes differ from those of another.
    # The linker keeps equal functions once, and packs the relocations of the position-independent binary.
    flags="-C target-feature=+crt-static -C link-arg=-Wl,--icf=all -C link-arg=-Wl,--pack-dyn-relocs=relr"
    flags+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/fastness"
    RUSTFLAGS="$flags" cargo build --locked --profile dist --target {{ target }}
    {{ here }} _static {{ quote(dist_binary) }}

# The console in a real browser, against the binary that ships; what only a server that breaks can show, against the mock
test-browser: _test-packages _web-modules dist
    FASTNESS_BIN={{ quote(dist_binary) }} npm --prefix web run e2e

# The interface against its own description: the binary that ships, asked by schemathesis with a fixed seed
test-contract: _contract-tools dist
    FASTNESS_BIN={{ quote(dist_binary) }} {{ contract_python }} tests/contract/run.py --seed 1

# Streams as others read them: curl, npm's eventsource, ws and cloudevents, Python's websockets, on the binary that ships
test-clients *clients: _contract-tools _client-modules dist
    FASTNESS_BIN={{ quote(dist_binary) }} {{ contract_python }} tests/clients/run.py {{ clients }}

# A bundle of a real run, checked by programs of others: openssl, jq, tar, zstd, Python, Go; by two builds of this one; and changed
# in many ways on which our verifier and the scripts must agree
test-standalone: _test-packages dist
    #!/usr/bin/env bash
    set -euo pipefail
    other=target/debug/fastness
    [ ! -x "$other" ] || export FASTNESS_OTHER="$other"
    FASTNESS_BIN={{ quote(dist_binary) }} python3 tests/standalone/run.py
    FASTNESS_BIN={{ quote(dist_binary) }} python3 tests/standalone/differ.py

# The same as test-contract for longer, with a drawn seed that it prints; `--seed N` and `--examples N` say otherwise
fuzz-contract *arguments: _contract-tools build
    FASTNESS_BIN=target/release/fastness {{ contract_python }} tests/contract/run.py \
        --seconds-max 7200 --examples 150 --chain-seconds 600 {{ arguments }}

# The measured workloads
bench *arguments: _web
    cargo bench --locked --bench workloads -- {{ arguments }}

# W1 with every flush of every server made 2 ms longer; needs a C compiler, as the build does
bench-slow *arguments="w1": _web
    BENCH_FLUSH_DELAY_US=2000 cargo bench --locked --bench workloads -- {{ arguments }}

# Claims, memory and start with ten million jobs; an hour and much disk
bench-large: _web
    BENCH_LARGE=10000000 cargo bench --locked --bench workloads -- w6

# Two million seeded mutations for each of the six fuzz targets; stable is all that it asks for
fuzz: _web
    cargo test --locked --release --test main -- --ignored --nocapture fuzz

# The hostile bundles as files in target/hostile, for other verifiers
hostile:
    HOSTILE_DIR=target/hostile cargo test --locked --test main -- --ignored --nocapture the_files_of_the_hostile_bundles

# After a change of the bundle's format: the table of hostile bundles and the corpus of the fuzz targets
update-hostile:
    UPDATE_HOSTILE=1 cargo test --locked --test main -- the_table_of_hostile_bundles the_corpus_is

# One of the targets (tar, dsse, note, canonical, pack, event) with coverage; needs cargo-fuzz and a nightly compiler
fuzz-nightly target *arguments:
    cargo +nightly fuzz run {{ target }} {{ arguments }}

# What takes long: crashes and kills under load, a million mutations of a bundle
soak: _web
    cargo test --locked --release --test main -- --ignored --nocapture soak

# Fails unless `binary` is statically linked, small enough, and silent about where it was built.
_static binary:
    #!/usr/bin/env bash
    set -euo pipefail
    binary={{ quote(binary) }}
    # Each reading is taken before it is searched: a reader that fails must not look like "not found".
    segments=$(readelf --program-headers --wide "$binary")
    dynamic=$(readelf --dynamic --wide "$binary")
    bytes=$(stat --format %s "$binary")
    if grep -qw INTERP <<<"$segments" || grep -qw NEEDED <<<"$dynamic"; then
        echo "$binary is not static: it needs a loader or shared libraries" >&2
        grep -wE 'INTERP|NEEDED' <<<"$segments$dynamic" >&2
        exit 1
    fi
    for place in "$PWD" "${CARGO_HOME:-$HOME/.cargo}"; do
        if grep --quiet --text --fixed-strings "$place/" "$binary"; then
            echo "$binary names $place: it would differ from one built elsewhere" >&2
            exit 1
        fi
    done
    if [ "$bytes" -gt {{ dist_bytes_max }} ]; then
        echo "$binary has $bytes bytes; {{ dist_bytes_max }} are the limit" >&2
        exit 1
    fi
    echo "$binary is static and has $bytes bytes"

# Names what is missing of the tools that set-up cannot install by itself.
_tools:
    #!/usr/bin/env bash
    set -euo pipefail
    problems=()
    cargo fmt --version >/dev/null 2>&1 || problems+=("rustfmt is missing: rustup component add rustfmt")
    cargo clippy --version >/dev/null 2>&1 || problems+=("clippy is missing: rustup component add clippy")
    node=$(node --print process.versions.node 2>/dev/null || echo 0)
    [ "${node%%.*}" -ge 20 ] || problems+=("Node 20 or newer is needed to build the console; found: ${node/#0/none}")
    command -v npm >/dev/null || problems+=("npm is missing; it comes with Node")
    [ "${#problems[@]}" -eq 0 ] || { printf '%s\n' "${problems[@]}" >&2; exit 1; }

# Installs the Debian packages that the tests drive.
_test-packages:
    #!/usr/bin/env bash
    set -euo pipefail
    missing=()
    # package:command that it brings
    for entry in zstd:zstd jq:jq openssl:openssl strace:strace tar:tar curl:curl python3:python3 \
        binutils:readelf chromium:chromium golang-go:go bsdutils:script; do
        command -v "${entry#*:}" >/dev/null || missing+=("${entry%%:*}")
    done
    # Go's packages for signed notes and trees.
    [ -e /usr/share/gocode/src/golang.org/x/mod/sumdb/note ] || missing+=(golang-golang-x-mod-dev)
    # Debian keeps what makes a virtual environment apart from Python.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    [ "${#missing[@]}" -gt 0 ] || exit 0
    if ! command -v apt-get >/dev/null; then
        as_root=none
    elif [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif sudo --non-interactive true 2>/dev/null; then
        as_root="sudo --non-interactive"
    else
        as_root=none
    fi
    if [ "$as_root" = none ]; then
        echo "the tests need these Debian packages: ${missing[*]}" >&2
        echo "install them: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "installing Debian packages: ${missing[*]}"
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends "${missing[@]}" >/dev/null

# Installs what the API test runs on, as locked and by digest, into an environment below target.
_contract-tools: _test-packages
    #!/usr/bin/env bash
    set -euo pipefail
    venv=target/contract/venv
    wanted="$(python3 --version) $(sha256sum tests/contract/requirements.txt)"
    [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ] || exit 0
    rm -rf "$venv"
    python3 -m venv "$venv"
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        --requirement tests/contract/requirements.txt; then
        echo "the API test cannot run: pip could not install tests/contract/requirements.txt" >&2
        exit 1
    fi
    echo "$wanted" >"$venv/installed"

# Installs the console's packages, as locked, running none of their scripts.
_web-modules: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    cd web
    [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --ignore-scripts

# Installs the clients from npm that the tests drive, as locked, running none of their scripts.
_client-modules: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    cd tests/clients
    [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --ignore-scripts

# Builds the console when a source is newer than what was built. build.rs has the last word, by digest.
_web: _web-modules
    #!/usr/bin/env bash
    set -euo pipefail
    cd web
    sources=()
    for source in index.html package.json package-lock.json vite.config.ts tsconfig*.json src public; do
        [ ! -e "$source" ] || sources+=("$source")
    done
    if [ ! -e dist/.stamp ] || [ -n "$(find "${sources[@]}" -newer dist/.stamp -print -quit)" ]; then
        npm run build
    fi
