#!/bin/sh
# verify.sh BUNDLE LOG.pem EXPORT.pem: checks an audit bundle with openssl, jq, sha256sum, GNU tar and zstd alone.
# The format is in bundle-format.md. Exit codes: 0 good, 2 usage, 10 tampered, 11 incomplete, 12 untrusted key, 14 malformed.
set -u
export LC_ALL=C
[ $# -eq 3 ] || { echo "usage: verify.sh BUNDLE LOG.pem EXPORT.pem" >&2; exit 2; }
bundle=$(realpath "$1") log=$(realpath "$2") export_key=$(realpath "$3")
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $2"; exit "$1"; }
hex() { od -An -v -tx1 | tr -d ' \n'; }

[ -r "$bundle" ] && [ ! -d "$bundle" ] || fail 2 "$1: no file that can be read"
for key in "$log" "$export_key"; do # The first 12 of 44 bytes say that an Ed25519 key follows.
  [ "$(openssl pkey -pubin -inform PEM -in "$key" -outform DER 2> "$work/errors" | head -c 12 | hex)" = 302a300506032b6570032100 ] ||
    fail 2 "$key: no SPKI PEM of an Ed25519 key"
done

# unbase64 TEXT FILE: decodes into the file; fails for what is not base64 in its one form.
unbase64() { printf '%s' "$1" | base64 -d > "$2" 2> "$work/errors" && [ "$(base64 -w 0 < "$2")" = "$1" ]; }

# Reads lines of two joined hex hashes, writes the hash of each node: SHA-256(0x01, left, right).
# Each node becomes a file written by the shell's own printf, so that one sha256sum hashes a whole level.
nodes() {
  rm -rf "$work/level" && mkdir "$work/level" && cd "$work/level" || exit 2
  awk 'BEGIN { for (i = 0; i < 256; i++) octal[sprintf("%02x", i)] = sprintf("\\%03o", i) }
    { text = "\\001"; for (i = 1; i < 129; i += 2) text = text octal[substr($0, i, 2)]
      printf "printf \"%s\" > %09d\n", text, NR }' | sh
  ls | xargs -r sha256sum | cut -c1-64
}

# fold FIRST SIZE < leaf hashes: the root at SIZE, from the frontier at FIRST and the leaves between.
fold() {
  m=$1 n=$2 row=1 edge=
  cat > "$work/row"
  while [ "$n" -gt 0 ]; do
    if [ $((m % 2)) -eq 1 ]; then # The frontier's subtree of this height stands left of what is new.
      { sed -n "${row}p" "$work/edges"; cat "$work/row"; } > "$work/wide" && mv "$work/wide" "$work/row"
      row=$((row + 1))
    fi
    if [ $((n % 2)) -eq 1 ]; then # The last node has no neighbour: it joins the right edge.
      last=$(tail -n 1 "$work/row")
      sed '$d' "$work/row" > "$work/wide" && mv "$work/wide" "$work/row"
      if [ -z "$edge" ]; then edge=$last; else edge=$(echo "$last$edge" | nodes); fi
    fi
    paste -d '\0' - - < "$work/row" | nodes > "$work/wide" && mv "$work/wide" "$work/row"
    m=$((m / 2)) n=$((n / 2))
  done
  if [ -n "$edge" ]; then echo "$edge"; else printf '' | sha256sum | cut -c1-64; fi
}

# checkpoint NAME SIZE ROOT
checkpoint() {
  note=$work/audit/$1
  # Three lines, an empty one, and 1 to 16 lines that sign; each ends with LF, and nothing else is in it.
  awk 'NR == 2 && !/^(0|[1-9][0-9]*)$/ || NR == 3 && !/^[A-Za-z0-9+\/]+=$/ || NR == 4 && $0 != "" || NR > 20 { bad = 1 }
    NR > 4 && !/^\342\200\224 [^+ ]+ [A-Za-z0-9+\/]+=*$/ { bad = 1 } END { exit bad || NR < 5 }' "$note" &&
    ! grep -q '[[:cntrl:]]' "$note" && [ -z "$(tail -c 1 "$note")" ] || fail 14 "audit/$1: not a checkpoint"
  sed '1,2d; 4d' "$note" | while read -r line; do
    unbase64 "${line##* }" "$work/sig" && [ "$(wc -c < "$work/sig")" -gt 4 ] || echo "$line"
  done > "$work/bad"
  [ ! -s "$work/bad" ] || fail 14 "audit/$1: not base64 in its one form, or too short"
  head -n 3 "$note" > "$work/text"
  said=$(printf '%s\n%s\n%s' "$origin" "$2" "$3")
  [ "$(sed -n 1,2p "$work/text"; sed -n 3p "$work/text" | base64 -d | hex)" = "$said" ] || fail 10 "audit/$1: unlike the manifest"
  id=$({ printf '%s\n\001' "$origin"; openssl pkey -pubin -in "$log" -outform DER | tail -c 32; } | sha256sum | cut -c1-8)
  found=
  sed -n '5,$p' "$note" | while read -r dash name signature; do
    [ "$dash $name" = "— $origin" ] || continue
    echo "$signature" | base64 -d > "$work/sig" 2> "$work/errors" || continue
    [ "$(head -c 4 "$work/sig" | hex)" = "$id" ] && tail -c +5 "$work/sig" > "$work/sig.log"
  done
  [ -s "$work/sig.log" ] || fail 12 "audit/$1: not signed by the log key"
  openssl pkeyutl -verify -pubin -inkey "$log" -rawin -in "$work/text" -sigfile "$work/sig.log" > "$work/errors" 2>&1 ||
    fail 10 "audit/$1: bad signature"
  rm "$work/sig.log"
}

# 1 Container: the tar must be what GNU tar makes of its own members.
zstd -dcq "$bundle" > "$work/tar" 2> "$work/errors" || fail 14 "not a sound zstd file"
tar -tvf "$work/tar" > "$work/long" 2> "$work/errors" || fail 14 "not a sound tar"
tar -tf "$work/tar" > "$work/names"
grep -qv '^-' "$work/long" && fail 14 "the tar holds something other than regular files"
grep -qvE '^audit/[a-z0-9._/-]+$' "$work/names" && fail 14 "a name outside audit/ or the alphabet"
grep -qE '(^|/)\.\.?(/|$)|//|/$' "$work/names" && fail 14 "a name with an empty part or dots"
[ -z "$(sort "$work/names" | uniq -d)" ] || fail 14 "a name twice"
(cd "$work" && tar -xf tar) || fail 14 "not a sound tar"
(cd "$work" && tar --format=ustar --blocking-factor=1 --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644 \
  --no-recursion -cf again -T names && cmp -s tar again) || fail 14 "the tar is not in the one form allowed"

# 2 Manifest: DSSE envelope, signed by the export key.
manifest=$work/audit/manifest.dsse.json
[ "$(head -n 1 "$work/names")" = audit/manifest.dsse.json ] || fail 11 "no manifest"
jq -cS . "$manifest" 2> "$work/errors" | cmp -s - "$manifest" || fail 14 "manifest: not canonical JSON"
jq -e '.payloadType == "application/vnd.in-toto+json" and (.signatures | length) == 1
  and keys == ["payload", "payloadType", "signatures"] and (.signatures[0] | keys == ["keyid", "sig"])' "$manifest" > "$work/errors" ||
  fail 14 "manifest: another type, not one signature, or more"
unbase64 "$(jq -r .payload "$manifest")" "$work/payload" || fail 14 "manifest: the payload is not base64 in its one form"
{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < "$work/payload")"; cat "$work/payload"; } > "$work/pae"
unbase64 "$(jq -r '.signatures[0].sig' "$manifest")" "$work/sig" || fail 14 "manifest: the signature is not base64 in its one form"
id=$(openssl pkey -pubin -in "$export_key" -outform DER | sha256sum | cut -c1-64)
named=$(jq -r '.signatures[0].keyid' "$manifest")
if openssl pkeyutl -verify -pubin -inkey "$export_key" -rawin -in "$work/pae" -sigfile "$work/sig" > "$work/errors" 2>&1; then
  [ "$named" = "$id" ] || fail 10 "manifest: keyid is not that of the key"
else
  [ "$named" = "$id" ] || fail 12 "manifest: signed by another key"
  fail 10 "manifest: bad signature"
fi
jq -cS . "$work/payload" | head -c -1 | cmp -s - "$work/payload" || fail 14 "manifest: payload is not canonical JSON"
hex64='\A[0-9a-f]{64}\z'
member='\Aaudit/(checkpoint(\.prev)?|frontier|leaves|trust/([1-9][0-9]{0,2}\.root\.dsse\.json|policy)|(history|disclosures|jobs|runs|throttles|packs)\.jsonl|(artifacts|logs)/[0-9a-f]{64}|verify\.txt)\z'
jq -e --arg hex "$hex64" --arg member "$member" '
  def whole: type == "number" and . >= 0;
  [.subject[].name] as $names | .predicate.tenant as $tenant
  | keys == ["_type", "predicate", "predicateType", "subject"] and ._type == "https://in-toto.io/Statement/v1"
  and .predicateType == "urn:fastness:attestation:audit-bundle:v1" and $names == ($names | unique)
  and (.subject | all(keys == ["digest", "name"] and (.digest | keys == ["sha256"] and (.sha256 | test($hex))) and (.name | test($member))))
  and (.predicate | keys - ["contents", "orderId", "orderIds"] == ["files", "first", "format", "origin", "prevRoot", "redaction", "root",
      "schemaSha256", "size", "stateVersion", "tenant", "trustVersion"]
    and .format == 1 and ([.first, .size, .stateVersion, .trustVersion, .redaction.withheld] | all(whole)) and .first <= .size
    and (.redaction | keys == ["policy", "withheld"] and (.policy | type == "string")) and ([.root, .prevRoot, .schemaSha256] | all(test($hex)))
    and ($tenant | test("\\A[a-z0-9][a-z0-9-]{0,62}\\z")) and (.origin | test("\\Afastness/[0-9a-f]{16}/" + $tenant + "(/g([2-9]|[1-9][0-9]+))?\\z"))
    and $names == [.files[].name] and (.orderIds // [0, 0] | length) > 1 and (has("orderId") and has("orderIds") | not)
    and (.files | all(keys == if .name | endswith(".jsonl") then ["lines", "name", "size"] else ["name", "size"] end and (.size | whole) and (.lines // 0 | whole))))
' "$work/payload" > "$work/errors" 2>&1 || fail 14 "manifest: not the statement of an audit bundle"
said() { jq -r ".predicate.$1" "$work/payload"; }
origin=$(said origin) tenant=$(said tenant) first=$(said first) size=$(said size)
echo "ok: manifest signature"

# 3 Members: exactly those of the manifest, with their digests. Leaf hashes come first: they name a changed event.
jq -r '.subject[].name' "$work/payload" | sort > "$work/subjects"
sed 1d "$work/names" | sort > "$work/members"
missing=$(comm -23 "$work/subjects" "$work/members" | head -n 1) extra=$(comm -13 "$work/subjects" "$work/members" | head -n 1)
[ -z "$extra" ] || fail 10 "$extra: not in the manifest"
[ -z "$missing" ] || fail 11 "$missing: missing"
mkdir "$work/events" && cd "$work/events" || exit 2
i=0
while IFS= read -r line || [ -n "$line" ]; do
  printf '\000%s' "$line" > "$(printf 'e%09d' "$i")"
  i=$((i + 1))
done < "$work/audit/history.jsonl"
ls | xargs -r sha256sum | cut -c1-64 > "$work/leaves"
cd "$work" || exit 2
changed=$(cut -c1-16 leaves | diff - audit/leaves | sed -n '1s/^\([0-9]*\).*/\1/p')
jq -r '.subject[] | .digest.sha256 + "  " + .name' payload > sums
other=$(awk '$2 ~ /^audit\/(artifacts|logs)\// { name = $2; sub(/.*\//, "", name); if (name != $1) { print $2; exit } }' sums)
[ -z "$other" ] || fail 10 "$other: unlike its name"
bad=$(sha256sum -c --strict sums 2> errors | sed -n 's/: FAILED.*//p' | head -n 1)
if [ "$bad" = audit/history.jsonl ] && [ -n "$changed" ]; then
  fail 10 "$bad: event $((first + changed - 1)) (line $changed): changed"
fi
[ -z "$bad" ] || fail 10 "$bad: changed"
echo "ok: members and digests"

# 4 Checkpoints, signed by the log key.
checkpoint checkpoint "$size" "$(said root)"
checkpoint checkpoint.prev "$first" "$(said prevRoot)"
echo "ok: checkpoints"

# 5 Lines: canonical JSON, sequence numbers without a gap, one tenant.
for file in audit/*.jsonl; do
  jq -cS . "$file" 2> errors | cmp - "$file" > errors 2>&1 || fail 14 "$file: not canonical JSON: $(cat errors)"
done
jq -r '"\(.seq) \(.tenant)"' audit/history.jsonl |
  awk -v first="$first" -v tenant="$tenant" '$1 != first + NR - 1 || $2 != tenant { print NR; exit }' > gap
[ -s gap ] && fail 10 "audit/history.jsonl: line $(cat gap): another seq or tenant"
[ "$(wc -l < audit/history.jsonl)" -eq $((size - first)) ] || fail 11 "audit/history.jsonl: events are missing"
jq -r '.predicate | .orderId // empty, (.orderIds // [])[]' payload > named
jq -r '.orderId // empty' audit/runs.jsonl | LC_ALL=C sort -u | cmp -s - named ||
  fail 10 "audit/runs.jsonl: of other work orders than the manifest names"
echo "ok: canonical lines"

# 6 Tree: frontier to the previous root, frontier and leaves to the root.
while read -r hash; do unbase64 "$hash" "$work/hash" && [ "$(wc -c < "$work/hash")" -eq 32 ] && hex < "$work/hash"; echo; done < audit/frontier | tac > edges
grep -qvE '^[0-9a-f]{64}$' edges && fail 14 "audit/frontier: not in its form"
[ -z "$(tail -c 1 audit/frontier)" ] || fail 14 "audit/frontier: no LF at its end"
[ "$(fold "$first" "$first" < /dev/null)" = "$(said prevRoot)" ] || fail 10 "audit/frontier: not that of prevRoot"
[ "$(fold "$first" "$size" < leaves)" = "$(said root)" ] || fail 10 "audit/history.jsonl: does not lead to the root"
[ -z "$changed" ] || fail 10 "audit/leaves: not those of this history"
echo "ok: tree"
echo "good: events $first to $size of $origin"
