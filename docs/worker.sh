#!/bin/sh
# A worker for Fastness in sh, curl (7.55 or newer) and jq.
#
#     FASTNESS_SERVER=http://127.0.0.1:8420 FASTNESS_TOKEN_FILE=worker.token sh worker.sh NAME 'demo.*'
#
# Waits for jobs of the types given, renews the lease in the background, tells progress and steps, sends the log as it
# grows and one artifact, reports the end and claims the next job in the same call. SIGTERM gives the job at hand back and
# ends. The work itself stands in `work`: put yours there. The protocol is told in workers.md.
set -eu

api=${FASTNESS_SERVER:-http://127.0.0.1:8420}/api/v1/workers
name=${1:-$(hostname)-$$}
[ $# -eq 0 ] || shift
claim=$(jq -nc --arg worker "$name" \
    '{worker: $worker, types: $ARGS.positional, leaseMs: 30000, max: 1}' --args "$@")

if [ ! -r "${FASTNESS_TOKEN_FILE:-}" ]; then
    echo "FASTNESS_TOKEN_FILE must name a file with a token that can be read; it is '${FASTNESS_TOKEN_FILE:-}'" >&2
    exit 2
fi
token=$(cat "$FASTNESS_TOKEN_FILE")
dir=$(mktemp -d)
stopping='' waiting='' beating=''
# In a file, so that it stands in no list of processes; `mktemp -d` made the folder for us alone.
printf 'authorization: Bearer %s\n' "$token" >"$dir/token"
end() {
    [ -z "$beating" ] || kill "$beating" 2>/dev/null || true
    rm -rf "$dir"
}
trap end EXIT
trap 'stopping=1; [ -z "$waiting" ] || kill "$waiting" 2>/dev/null || true' TERM INT

# request METHOD PATH [curl arguments]: prints the status; the answer is in $dir/answer.
request() {
    method=$1 path=$2
    shift 2
    # 000 when there is no answer.
    curl -sS --max-time 60 --retry 5 --retry-connrefused -X "$method" -H "@$dir/token" -o "$dir/answer" \
        -w '%{http_code}' "$@" "$api$path" || true
}

# json PATH BODY: the same for JSON.
json() {
    request POST "$1" -H 'content-type: application/json' -d "$2"
}

# about WHAT MEMBERS: a call about the job at hand; false when the lease is lost.
about() {
    status=$(json "/jobs/$job/$1" "$(jq -nc --arg worker "$name" --argjson epoch "$epoch" "{worker: \$worker, epoch: \$epoch} + $2")")
    case $status in 2??) return 0 ;; *) return 1 ;; esac
}

# Renews the lease until it is killed. What is learned is left as files.
heartbeat() {
    body=$(jq -nc --arg worker "$name" --argjson epoch "$epoch" '{worker: $worker, epoch: $epoch}')
    while sleep 10; do
        status=$(curl -sS --max-time 5 -X POST -H "@$dir/token" -H 'content-type: application/json' -d "$body" \
            -o "$dir/renewed" -w '%{http_code}' "$api/jobs/$job/heartbeat") || continue
        case $status in
        200) jq -e .cancelRequested "$dir/renewed" >/dev/null && : >"$dir/cancelled" ;;
        404 | 409) : >"$dir/lost" ;;
        esac
    done
}

# Sends what is new in the log. A repeat is no harm; where the server wants another place, it says so.
send_log() {
    while [ "$sent" -lt "$(wc -c <"$dir/log")" ]; do
        tail -c "+$((sent + 1))" "$dir/log" | head -c 1048576 >"$dir/chunk"
        status=$(request POST "/jobs/$job/logs?worker=$name&epoch=$epoch&stream=stdout&offset=$sent" \
            -H 'content-type: application/octet-stream' --data-binary "@$dir/chunk")
        case $status in
        200) ;;
        409) jq -e .expectedOffset "$dir/answer" >/dev/null || return 1 ;;
        *) return 1 ;;
        esac
        sent=$(jq .expectedOffset "$dir/answer")
    done
}

# keep NAME FILE: stores an artifact.
keep() {
    sha256=$(sha256sum "$2" | cut -d' ' -f1)
    status=$(request PUT "/jobs/$job/artifacts/$1?worker=$name&epoch=$epoch&sha256=$sha256" \
        -H 'content-type: application/octet-stream' --data-binary "@$2")
    case $status in 200 | 201) ;; *) return 1 ;; esac
}

# Whether there is a reason to stop. To be asked often.
is_over() {
    [ -n "$stopping" ] || [ -e "$dir/lost" ] || [ -e "$dir/cancelled" ]
}

# The work: as many lines as the payload says, and a file that holds them. Sets `result`; false when it failed.
work() {
    lines=$(jq '.payload.lines // 3' "$dir/lease")
    pause=$(jq '(.payload.pauseMs // 0) / 1000' "$dir/lease")
    about steps '{id: "count", event: "started"}' || return 1
    number=0
    while [ "$number" -lt "$lines" ]; do
        is_over && return 1
        number=$((number + 1))
        echo "line $number of $lines" >>"$dir/log"
        send_log || return 1
        about progress "{percent: $((100 * number / lines)), message: \"line $number\"}" || return 1
        [ "$pause" = 0 ] || sleep "$pause"
    done
    about steps '{id: "count", event: "completed", exitCode: 0}' || return 1
    keep lines.txt "$dir/log" || return 1
    result=$(jq -nc --argjson lines "$lines" --arg sha256 "$sha256" \
        '{outcome: "completed", output: {lines: $lines, sha256: $sha256}}')
}

# One job, from its lease in $dir/lease to its end. The next one is then in $dir/lease, or that is empty.
attempt() {
    job=$(jq -r .id "$dir/lease") epoch=$(jq .epoch "$dir/lease") sent=0
    rm -f "$dir/lost" "$dir/cancelled"
    : >"$dir/log"
    heartbeat &
    beating=$!
    result='{"outcome": "failed", "error": {"class": "other", "message": "the work failed"}}'
    work || true
    kill "$beating" 2>/dev/null || true
    wait "$beating" 2>/dev/null || true
    beating=''
    : >"$dir/next"
    if [ -e "$dir/lost" ]; then
        echo "$job: the lease was lost" >&2
    elif [ -n "$stopping" ]; then
        about release '{reason: "the worker is stopping"}' || true
    else
        [ ! -e "$dir/cancelled" ] || result='{"outcome": "cancelled"}'
        body=$(jq -nc --arg worker "$name" --arg job "$job" --argjson epoch "$epoch" --argjson result "$result" \
            --argjson claim "$claim" \
            '{worker: $worker, results: [{jobId: $job, epoch: $epoch} + $result], claim: $claim}')
        status=$(json /complete "$body")
        [ "$status" != 200 ] || jq -c '.jobs[0] // empty' "$dir/answer" >"$dir/next"
    fi
    mv "$dir/next" "$dir/lease"
}

: >"$dir/lease"
while [ -z "$stopping" ]; do
    if [ -s "$dir/lease" ]; then
        attempt
        continue
    fi
    # In the background: a signal ends the wait, and the server takes the wish back.
    curl -sS --max-time 60 -X POST -H "@$dir/token" -H 'content-type: application/json' \
        -d "$(printf %s "$claim" | jq -c '. + {waitMs: 20000}')" -o "$dir/claimed" -f "$api/claim" &
    waiting=$!
    if wait "$waiting"; then
        [ "$(jq '.drain // false' "$dir/claimed")" = false ] || stopping=1
        jq -c '.jobs[0] // empty' "$dir/claimed" >"$dir/lease"
    elif [ -z "$stopping" ]; then
        sleep 1
    fi
    waiting=''
done
if [ -s "$dir/lease" ]; then
    # Granted while the signal came.
    job=$(jq -r .id "$dir/lease") epoch=$(jq .epoch "$dir/lease")
    about release '{reason: "the worker is stopping"}' || true
fi
echo stopped >&2
