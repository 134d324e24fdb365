package archive

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Marker is the name of the object that makes a place an archive, and MarkerText what it holds.
const (
	Marker     = "kimberlite-archive"
	MarkerText = `{"format":1}` + "\n"
)

// BlobName returns the name of the object with a digest.
func BlobName(d proof.Digest) string {
	s := d.String()
	return "blobs/" + s[:2] + "/" + s
}

// Place says which checkpoint something in an archive is about.
type Place struct {
	Store    seg.StoreID
	Tenant   wire.TenantID
	Position wire.Position
	ID       wire.CheckpointID
}

const (
	tenants = "tenants/"
	notes   = "/note"
	indexes = "/index"
	drafts  = "/draft"
)

// TenantPrefix is what the names of a tenant's checkpoints begin with.
func (p Place) TenantPrefix() string {
	return fmt.Sprintf("%s%016x-%d/", tenants, uint64(p.Store), p.Tenant)
}

func (p Place) dir() string {
	return fmt.Sprintf("%s%016x-%s", p.TenantPrefix(), uint64(p.Position), p.ID)
}

// Note returns the name of a checkpoint's note.
func (p Place) Note() string { return p.dir() + notes }

// Index returns the name of its index.
func (p Place) Index() string { return p.dir() + indexes }

func (p Place) draft() string { return p.dir() + drafts }

// parseNote returns the place whose note has a name, and false where it is no such name.
func parseNote(name string) (p Place, ok bool) {
	p, ok = parse(strings.TrimSuffix(name, notes))
	return p, ok && p.Note() == name
}

// parseDraft is parseNote for a draft.
func parseDraft(name string) (p Place, ok bool) {
	p, ok = parse(strings.TrimSuffix(name, drafts))
	return p, ok && p.draft() == name
}

// parse returns the place that a folder is of.
func parse(dir string) (p Place, ok bool) {
	parts := strings.Split(strings.TrimPrefix(dir, tenants), "/")
	if len(parts) != 2 {
		return p, false
	}
	store, tenant, _ := strings.Cut(parts[0], "-")
	position, id, _ := strings.Cut(parts[1], "-")
	s, err1 := strconv.ParseUint(store, 16, 64)
	t, err2 := strconv.ParseUint(tenant, 10, 64)
	at, err3 := strconv.ParseUint(position, 16, 64)
	c, err4 := wire.ParseCheckpointID(id)
	p = Place{seg.StoreID(s), wire.TenantID(t), wire.Position(at), c}
	return p, err1 == nil && err2 == nil && err3 == nil && err4 == nil
}
