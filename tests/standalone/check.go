// check VKEY CHECKPOINT HISTORY: Go's own packages for signed notes and transparency logs, on what Fastness wrote.
//
// VKEY holds the verifier key line, CHECKPOINT the signed checkpoint, HISTORY one event a line, from the first on. The
// note must be signed by the key, and the tree over the lines must have the checkpoint's size and root. It also proves one
// event and one earlier size, with the package's own proofs.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	must(err)
	return data
}

// hashes holds the tree's stored hashes in the order of the package.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(h)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		found[i] = h[index]
	}
	return found, nil
}

func main() {
	verifier, err := note.NewVerifier(strings.TrimSpace(string(read(os.Args[1]))))
	must(err)
	signed, err := note.Open(read(os.Args[2]), note.VerifierList(verifier))
	must(err)
	var origin string
	var size int64
	var root string
	_, err = fmt.Sscanf(signed.Text, "%s\n%d\n%s\n", &origin, &size, &root)
	must(err)
	if origin != verifier.Name() {
		must(fmt.Errorf("the checkpoint is of %s, the key of %s", origin, verifier.Name()))
	}
	history := bytes.TrimSuffix(read(os.Args[3]), []byte("\n"))
	lines := bytes.Split(history, []byte("\n"))
	var tree hashes
	for i, line := range lines {
		added, err := tlog.StoredHashes(int64(i), line, tree)
		must(err)
		tree = append(tree, added...)
	}
	found, err := tlog.TreeHash(int64(len(lines)), tree)
	must(err)
	if int64(len(lines)) != size || found.String() != root {
		must(fmt.Errorf("%d events with root %s, the checkpoint says %d and %s", len(lines), found, size, root))
	}
	proof, err := tlog.ProveRecord(size, size/2, tree)
	must(err)
	must(tlog.CheckRecord(proof, size, found, size/2, tlog.RecordHash(lines[size/2])))
	earlier, err := tlog.TreeHash(size/2, tree)
	must(err)
	growth, err := tlog.ProveTree(size, size/2, tree)
	must(err)
	must(tlog.CheckTree(growth, size, found, size/2, earlier))
	fmt.Printf("good: Go agrees on %d events of %s with root %s\n", size, origin, root)
}
