package client

import (
	"context"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// ArchivedCheckpoint names a checkpoint in an archive, as its signed note does.
type ArchivedCheckpoint struct {
	Source   string // the archive: a directory of the server's machine, or a bucket
	Store    uint64
	Tenant   TenantID
	Position Position
	ID       CheckpointID
}

// RestoreTenant has the server restore a checkpoint of an archive as a tenant that does not exist yet, and returns once that has begun and will be
// brought to its end, also behind a restart; RestoreInfo tells how far it is. The server verifies all of the checkpoint first, with keys that it
// trusts, which takes as long as reading it; one that is not what was signed is refused by name. Streams get ids of their own.
func (c *Client) RestoreTenant(ctx context.Context, id TenantID, from ArchivedCheckpoint, options ...RestoreOption) error {
	if len(from.Source) > wire.MaxDestination || !utf8.ValidString(from.Source) {
		return invalid("source: must be UTF-8, of at most %d bytes", wire.MaxDestination)
	}
	ask := &wire.RestoreTenant{Of: id, Source: from.Source, Store: from.Store, Tenant: from.Tenant, Position: from.Position, Checkpoint: from.ID}
	for _, o := range options {
		o(ask)
	}
	if ask.Name.Set {
		if err := checkName("tenant", ask.Name.Value); err != nil {
			return err
		}
	}
	_, err := c.start(ctx, id, ask).wait(ctx)
	return err
}

// RestoreOption is a setting of RestoreTenant.
type RestoreOption func(*wire.RestoreTenant)

// RestoredName gives the new tenant a name; without it, it has that of the old one.
func RestoredName(name string) RestoreOption {
	return func(r *wire.RestoreTenant) { r.Name = wire.Some(name) }
}

// AcceptOlder restores a checkpoint although the archive has a later one of the tenant. Streams that were deleted in between are deleted.
func AcceptOlder() RestoreOption {
	return func(r *wire.RestoreTenant) { r.AcceptOlder = true }
}

// TenantRestore says how far a tenant is that is being restored, or was.
type TenantRestore struct {
	Done    bool   // it can be used
	Events  uint64 // that are there
	Trouble string // why it does not go on; the server tries again
	Streams []RestoredStream
}

// RestoredStream says what the id of a stream has become.
type RestoredStream = wire.RestoredStream

// RestoreInfo tells how far a tenant is that RestoreTenant has begun. Before that, while its checkpoint is verified, it has no streams.
func (c *Client) RestoreInfo(ctx context.Context, id TenantID) (TenantRestore, error) {
	reply, err := c.start(ctx, id, &wire.RestoreInfo{Of: id}).wait(ctx)
	if err != nil {
		return TenantRestore{}, err
	}
	r := reply.(*wire.RestoreInfoReply)
	return TenantRestore{Done: r.Done, Events: r.Events, Trouble: r.Trouble, Streams: r.Streams}, nil
}
