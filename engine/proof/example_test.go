package proof_test

import (
	"fmt"
	"os"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A proof is verified with public keys alone: neither a server nor an archive is asked.
func Example() {
	keys, err := proof.Verifiers([]byte("kimberlite-test+48b7874a+AckX5e3FbDsypBvUwHRnbiL+e19HS0jVKg6FHCgSSw1s"))
	if err != nil {
		fmt.Println(err)
		return
	}
	document, err := os.ReadFile("../../testdata/proof/inclusion.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	inclusion, _, err := proof.Decode(document)
	if err != nil {
		fmt.Println(err)
		return
	}
	proven, err := inclusion.Verify(keys)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s has %q at offset %d, signed by %s\n", proven.Line.Name, proven.Event.Data, proven.Offset, proven.By)
	// Output: orders has "four" at offset 9, signed by [kimberlite-test]
}

// The leaves of a record's events make a stream's tree grow, which remembers no more than it needs for its root.
func ExampleTree() {
	r := &seg.Record{Kind: seg.KindAppend, Tenant: 42, Stream: 3, Position: 7, Commit: 1_790_000_000_000_000_000, Count: 2}
	r.Body = make([]byte, seg.SaltSize) // the record's salt, which is random
	r.Body = wire.AppendEvent(r.Body, 0, []byte("one"), r.Commit)
	r.Body = wire.AppendEvent(r.Body, 1, []byte("two"), r.Commit)

	var leaves proof.Leaves
	list, err := leaves.Of(nil, r, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	var tree proof.Tree
	for _, leaf := range list {
		tree.Append(leaf)
	}
	fmt.Println(tree.Size(), proof.Digest(tree.Root()).String()[:16])
	// Output: 2 5ef5048cc390325b
}
