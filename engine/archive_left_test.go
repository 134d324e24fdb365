package engine_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// refusing is an archive that cannot store objects whose name has an end.
type refusing struct {
	objects
	end string
}

func (o refusing) Put(name string, data []byte) error {
	if o.end != "" && strings.HasSuffix(name, o.end) {
		return seg.ErrUnavailable
	}
	return o.objects.Put(name, data)
}

// has reports whether an object of the archive has a text, expanded.
func (o objects) has(text string) bool {
	for _, p := range o { //det:order-free: any
		raw, err := new(archive.Packer).Unpack(archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}, p, archive.MaxWhole)
		if err == nil && bytes.Contains(raw, []byte(text)) {
			return true
		}
	}
	return false
}

// What was sent of a checkpoint that was deleted before all of it was there, or that was sent again, loses what is removed as all else does.
func TestWhatASendingHasLeftLosesWhatIsRemoved(t *testing.T) {
	for _, end := range []string{"/index", "/note"} {
		a := newArchiving(t)
		a.cfg.ArchiveBlob, a.cfg.ArchiveShare = 500, 2000
		if err := a.open(); err != nil {
			t.Fatal(err)
		}
		a.fill(100)
		a.checkpoint("first")
		a.rig.objects = refusing{a.at, end}
		a.call(1, &wire.ArchiveCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "first"}, Destination: "mem"})
		a.pass(3)
		if !a.at.has("order 7 ") {
			t.Fatal("nothing was sent")
		}
		a.call(1, &wire.DeleteCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "first"}})
		a.rig.objects = a.at
		a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
		a.pass(30)
		if a.at.has("order 7 ") {
			t.Errorf("%s cannot be stored: an event that is removed is in the archive", end)
		}
		for name := range a.at { //det:order-free: any
			if strings.HasSuffix(name, "/draft") || strings.HasSuffix(name, "/index") {
				t.Errorf("%s is left", name)
			}
		}
	}
}

func TestACheckpointThatIsSentAgainLeavesNothingBehind(t *testing.T) {
	a := newArchiving(t)
	a.fill(100)
	a.checkpoint("first")
	a.send("first")
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.rig.objects = refusing{a.at, ""}
	a.call(1, &wire.ArchiveCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "first"}, Destination: "mem"})
	a.pass(30)
	if a.at.has("order 7 ") {
		t.Error("an event that is removed is in the archive")
	}
	a.opened("first")
}

// A restored group goes on from where it was, whatever number its last entry had in the log that it comes from.
func TestAGroupIsRestored(t *testing.T) {
	a := newArchiving(t)
	a.fill(20)
	a.callRich(1, &wire.CreateGroup{Stream: a.orders, Name: "workers", FromOffset: 7})
	a.checkpoint("first")
	a.send("first")
	r, _ := a.restored(a.opened("first"))
	b, ok := r.callRich(1, &wire.GroupInfo{Stream: a.orders, Name: "workers"}).(*wire.GroupInfoReply)
	if !ok || b.Info.Floor != 7 || b.Info.Lag != 13 {
		t.Errorf("%+v", r.last.Msg.Body)
	}

	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.pass(30)
	r, _ = a.restored(a.opened("first"))
	if b, ok = r.callRich(1, &wire.GroupInfo{Stream: a.orders, Name: "workers"}).(*wire.GroupInfoReply); !ok || b.Info.Lag != 0 {
		t.Errorf("%+v", r.last.Msg.Body)
	}
	if report := r.checked(); report.Damaged() {
		t.Errorf("%+v", report.Findings)
	}
}
