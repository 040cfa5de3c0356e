// Verifies a log, or one proof, with other people's code alone: golang.org/x/mod/sumdb for notes and trees,
// filippo.io/torchwood for offline proofs. Nothing here knows how the log was made.
//
//	verify tree DIR VKEY [OLD-CHECKPOINT]   every entry's inclusion, and consistency with an older head
//	verify proof POLICY PROOF LEAF          a .tlog-proof of a leaf, under a witness policy
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const width = 256

func main() {
	var err error
	switch {
	case len(os.Args) >= 4 && os.Args[1] == "tree":
		err = tree(os.Args[2], os.Args[3], os.Args[4:])
	case len(os.Args) == 5 && os.Args[1] == "proof":
		err = proof(os.Args[2], os.Args[3], os.Args[4])
	default:
		err = errors.New("usage: verify tree DIR VKEY [OLD] | verify proof POLICY PROOF LEAF")
	}
	if err != nil {
		fmt.Println("REFUSED:", err)
		os.Exit(1)
	}
}

// files reads tiles of a folder; a partial one may have become full since.
type files struct{ root string }

func (f files) Height() int { return 8 }

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, t := range tiles {
		data, err := os.ReadFile(filepath.Join(f.root, torchwood.TilePath(t)))
		if err != nil && t.W < width {
			whole := t
			whole.W = width
			data, err = os.ReadFile(filepath.Join(f.root, torchwood.TilePath(whole)))
		}
		if err != nil {
			return nil, err
		}
		if len(data) < t.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %v is short", t)
		}
		found[i] = data[:t.W*tlog.HashSize]
	}
	return found, nil
}

func open(path string, verifier note.Verifier) (torchwood.Checkpoint, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return torchwood.Checkpoint{}, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return torchwood.Checkpoint{}, err
	}
	head, err := torchwood.ParseCheckpoint(opened.Text)
	if err == nil && head.Origin != verifier.Name() {
		err = fmt.Errorf("a head of %s", head.Origin)
	}
	return head, err
}

func tree(dir, vkey string, older []string) error {
	verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return err
	}
	head, err := open(filepath.Join(dir, "checkpoint"), verifier)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(head.Tree, files{dir})
	for n := int64(0); n*width < head.N; n++ {
		if err := bundle(dir, n, head, hashes); err != nil {
			return err
		}
	}
	for _, path := range older {
		old, err := open(path, verifier)
		if err != nil {
			return err
		}
		path, err := tlog.ProveTree(head.N, old.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(path, head.N, head.Hash, old.N, old.Hash); err != nil {
			return err
		}
	}
	fmt.Println("ACCEPTED", head.N, "entries of", head.Origin)
	return nil
}

// bundle checks the inclusion of every entry of one bundle.
func bundle(dir string, n int64, head torchwood.Checkpoint, hashes tlog.HashReader) error {
	count := min(width, head.N-n*width)
	path := strings.Replace(
		torchwood.TilePath(tlog.Tile{H: 8, L: -1, N: n, W: int(count)}), "tile/data/", "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		return err
	}
	for i := int64(0); i < count; i++ {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return fmt.Errorf("bundle %d is cut", n)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		index := n*width + i
		record, err := tlog.ProveRecord(head.N, index, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(record, head.N, head.Hash, index, tlog.RecordHash(data[2:end])); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		data = data[end:]
	}
	if len(data) != 0 {
		return fmt.Errorf("bundle %d is too long", n)
	}
	return nil
}

func proof(policyFile, proofFile, leafFile string) error {
	var read [3][]byte
	for i, name := range []string{policyFile, proofFile, leafFile} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		read[i] = data
	}
	policy, err := torchwood.ParsePolicy(read[0])
	if err != nil {
		return err
	}
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(read[2]), read[1]); err != nil {
		return err
	}
	fmt.Println("ACCEPTED")
	return nil
}
