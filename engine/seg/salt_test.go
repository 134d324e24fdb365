package seg_test

import (
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Where the first events of a record go, the hashes of the others stay what they were, and what the hashes of those were salted with is
// not in the record any more.
func TestSaltsGoWithTheirEvents(t *testing.T) {
	r := seg.Record{Kind: seg.KindAppend, Count: 4, Tenant: 1, Stream: 2, First: 7, Position: 3}
	r.Body = []byte("sixteen bytes of")
	for i := range 4 {
		r.Body = wire.AppendEvent(r.Body, r.First+wire.Offset(i), []byte{byte(i)}, 5)
	}
	var hasher proof.Leaves
	all, err := hasher.Of(nil, &r, 0)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 4; n++ {
		var short seg.Record
		if _, err := seg.CheckRecord(r.Without(n), &short); err != nil {
			t.Fatal(err)
		}
		left, err := hasher.Of(nil, &short, 0)
		if err != nil || len(left) != 4-n {
			t.Fatalf("%d leaves, %v", len(left), err)
		}
		for i := range left {
			if left[i] != all[n+i] {
				t.Errorf("without %d: event %d has another leaf", n, n+i)
			}
		}
		if seg.Salt(short.Body) == seg.Salt(r.Body) {
			t.Errorf("without %d: the salt of the record is still there", n)
		}
	}
	if seg.EventSalt(seg.Salt(r.Body)) == seg.NextSalt(seg.Salt(r.Body)) {
		t.Error("an event's salt is the next link")
	}
}
