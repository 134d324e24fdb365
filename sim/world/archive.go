package world

import (
	"crypto/sha256"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/client"
	"github.com/kimberlitedb/kimberlite-go/sim/object"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// changed judges the store at every change that could leave a listed checkpoint without something that it needs.
func (o *objects) changed(kind object.OpKind, name string) {
	whole := kind == object.OpPut && !o.failing[name]
	if strings.HasPrefix(name, "blobs/") && whole && !o.store.Locks { // a lock is set by storing it again
		o.w.suite.Saw(check.Checkpoint, o.there[name])
		if o.there[name] {
			o.w.suite.FailPart(check.Checkpoint, "archive", "%s is sent again, and was there", name)
		}
	}
	o.there[name], o.cut[name] = whole, kind == object.OpPut && !whole
	delete(o.failing, name)
	if kind == object.OpRemove || strings.HasPrefix(name, "tenants/") {
		o.w.archives.Present(o.store.Mount(nil), o.isCut)
	}
}

func (o *objects) isCut(name string) bool { return o.cut[name] }

// crashed judges all that the store lists, behind some crashes.
func (o *objects) crashed() {
	if o.w.plan.Config.Archivist > 0 && o.looks.N(4) == 0 {
		o.w.archives.Verify(o.store.Mount(nil), o.isCut)
	}
}

// judge judges the store at rest.
func (o *objects) judge() {
	w := o.w
	if w.plan.Config.Archivist == 0 || w.suite.Holes {
		return
	}
	list := w.archives.Verify(o.store.Mount(nil), o.isCut)
	if w.suite.Failed != nil {
		return
	}
	o.erased()
	o.walls(list)
	o.restored(list)
}

// prunedIn is within how long what was removed has left the archives at rest, beside the interval of sweeps.
const prunedIn = wire.Span(2*restSpan + 300_000_000_000)

// erased checks that no object holds anything of what the keeper knows to be removed.
func (o *objects) erased() {
	w := o.w
	if left := w.server.m.Stats().Unpruned; left > 0 {
		if left > wire.Span(w.plan.Config.Sweep)+prunedIn {
			w.suite.Fail(check.Expired, "something that was removed has been in an archive for %d s, and the interval is %d ms", left/1_000_000_000, w.plan.Config.Sweep/1_000_000)
		}
		return
	}
	purged, expired := w.keeper.Removed(w.history.oldest)
	expired = append(expired, w.tables.Removed(w.history.oldest(check.Statements(client.ClerkTenant)))...)
	if len(purged)+len(expired) == 0 {
		return
	}
	store := o.store.Mount(nil)
	names, _ := store.List("") // nothing fails for whoever looks from outside
	for _, name := range names {
		content := o.content(store, name)
		w.absent(check.Deleted, name, content, purged)
		w.absent(check.Expired, name, content, expired)
	}
}

// content returns what an object holds, expanded.
func (o *objects) content(store seg.Objects, name string) []byte {
	p, _ := store.Get(name) // likewise
	var packer archive.Packer
	if raw, err := packer.Unpack(archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}, p, archive.MaxWhole); err == nil {
		return raw
	}
	return p
}

// walls checks that no tenant's checkpoints have anything of another one.
func (o *objects) walls(list []*archive.Checkpoint) {
	w, store := o.w, o.store.Mount(nil)
	type part struct {
		tenant wire.TenantID
		name   string
	}
	seen := map[part]bool{}
	for _, c := range list {
		blobs := []archive.Blob{c.Index.Manifest, c.Index.State}
		for _, s := range c.Index.Sections {
			blobs = append(blobs, s.Blob)
		}
		for _, b := range blobs {
			at := part{c.Tenant, archive.BlobName(b.Digest)}
			if seen[at] {
				continue
			}
			seen[at] = true
			content := string(o.content(store, at.name))
			for _, t := range w.model.Tenants {
				w.suite.Saw(check.Taint, t.ID != c.Tenant)
				if t.ID != c.Tenant && strings.Contains(content, string(t.Marker[:])) {
					w.suite.Fail(check.Taint, "%s of tenant %d has something of tenant %d", at.name, c.Tenant, t.ID)
				}
			}
		}
	}
}
