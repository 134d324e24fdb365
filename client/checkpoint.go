package client

import (
	"context"
	"errors"
	"iter"
	"time"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// CheckpointID names a checkpoint, for ever and everywhere.
type CheckpointID = wire.CheckpointID

// Checkpoint is a tenant frozen at a position of its log.
type Checkpoint struct {
	ID       CheckpointID
	Label    string // empty without one
	Position Position
	Time     time.Time // the commit time
	Size     uint64    // bytes of event data in it that are still there; not told by Checkpoint
}

// CheckpointDetails is what there is to know of a checkpoint.
type CheckpointDetails struct {
	Checkpoint
	Note    string // the signed note, which proves it; empty for the moment until it is written
	Trouble string // why it is not written, where that has failed; the server goes on trying
	// Archives are where it was sent, or is being sent.
	Archives []CheckpointArchive
}

// CheckpointArchive says how far a checkpoint has got into an archive.
type CheckpointArchive struct {
	Destination string
	Done        bool   // all of it is there
	Sent        uint64 // bytes, since the server began with it
	Events      uint64 // of the checkpoint that are there; means nothing once it is done
	Trouble     string // why it does not go on; the server tries again
}

// CheckpointStream is a stream as a checkpoint has it.
type CheckpointStream struct {
	ID     StreamID
	Name   string
	Base   Offset // of the event that is the first leaf of the stream's tree
	Oldest Offset
	Head   Offset
	Bytes  uint64 // of event data from Oldest on
	Root   []byte // of the stream's tree; empty while the checkpoint has no note
}

// Checkpoint freezes the tenant as it is, under a label unless that is empty, and stops nobody who writes. A label that is taken
// is ErrCheckpointExists. After ErrUnknownOutcome look the label up.
func (c *Client) Checkpoint(ctx context.Context, label string) (Checkpoint, error) {
	ask := &wire.Checkpoint{Of: c.cfg.tenant}
	if label != "" {
		if err := checkName("checkpoint", label); err != nil {
			return Checkpoint{}, err
		}
		ask.Label = wire.Some(label)
	}
	reply, err := c.do(ctx, ask)
	if err != nil {
		return Checkpoint{}, err
	}
	r := reply.(*wire.CheckpointReply)
	return Checkpoint{ID: r.ID, Label: label, Position: r.Position, Time: instant(r.Time)}, nil
}

// Checkpoints lists the tenant's checkpoints in the order of their positions.
func (c *Client) Checkpoints(ctx context.Context) ([]Checkpoint, error) {
	reply, err := c.do(ctx, &wire.ListCheckpoints{Of: c.cfg.tenant})
	if err != nil {
		return nil, err
	}
	var list []Checkpoint
	for i := range reply.(*wire.ListCheckpointsReply).Checkpoints {
		list = append(list, checkpoint(&reply.(*wire.ListCheckpointsReply).Checkpoints[i]))
	}
	return list, nil
}

// CheckpointInfo describes a checkpoint, which is named by its label or by its id. One that there is not is ErrCheckpointNotFound.
func (c *Client) CheckpointInfo(ctx context.Context, name string) (CheckpointDetails, error) {
	r, err := c.lookUp(ctx, name, 0, 0)
	if err != nil {
		return CheckpointDetails{}, err
	}
	d := CheckpointDetails{Checkpoint: checkpoint(&r.Info), Note: r.Note, Trouble: r.Trouble}
	for _, a := range r.Archives {
		d.Archives = append(d.Archives, CheckpointArchive(a))
	}
	return d, nil
}

// ArchiveCheckpoint has the server send a checkpoint, which is named by its label or by its id, to an archive: a directory or a bucket
// that the server's settings allow, else it is ErrPermissionDenied. It returns at once; CheckpointInfo tells how far that is. The server goes on
// behind a restart.
func (c *Client) ArchiveCheckpoint(ctx context.Context, name, destination string, options ...ArchiveOption) error {
	r, err := c.lookUp(ctx, name, 0, 0)
	if err != nil {
		return err
	}
	if len(destination) > wire.MaxDestination || !utf8.ValidString(destination) {
		return invalid("destination: must be UTF-8, of at most %d bytes", wire.MaxDestination)
	}
	ask := &wire.ArchiveCheckpoint{Of: c.cfg.tenant, Ref: wire.CheckpointRef{ID: r.Info.ID}, Destination: destination}
	for _, o := range options {
		o(ask)
	}
	_, err = c.do(ctx, ask)
	return err
}

// ArchiveOption is a setting of ArchiveCheckpoint.
type ArchiveOption func(*wire.ArchiveCheckpoint)

// LockUntil has a bucket with object lock let nobody remove what is sent before t. It is ErrInvalidRequest where something of the
// checkpoint is to be gone before.
func LockUntil(t time.Time) ArchiveOption {
	return func(r *wire.ArchiveCheckpoint) { r.LockUntil = wire.Some(clamped(t)) }
}

// CheckpointStreams lists the streams of a checkpoint in the order of their ids, page by page. An error ends the list.
func (c *Client) CheckpointStreams(ctx context.Context, name string) iter.Seq2[CheckpointStream, error] {
	return func(yield func(CheckpointStream, error) bool) {
		after := StreamID(0)
		for more := true; more; {
			r, err := c.lookUp(ctx, name, after, wire.MaxListPage)
			if err != nil {
				yield(CheckpointStream{}, err)
				return
			}
			for _, s := range r.Streams {
				after = s.Stream
				if !yield(CheckpointStream{s.Stream, s.Name, s.Base, s.Oldest, s.Head, s.Bytes, s.Root}, nil) {
					return
				}
			}
			more = r.More && len(r.Streams) > 0
		}
	}
}

// DeleteCheckpoint deletes a checkpoint, which is named by its label or by its id. What it holds stays where it is.
func (c *Client) DeleteCheckpoint(ctx context.Context, name string) error {
	r, err := c.lookUp(ctx, name, 0, 0)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, &wire.DeleteCheckpoint{Of: c.cfg.tenant, Ref: wire.CheckpointRef{ID: r.Info.ID}})
	return err
}

// lookUp asks about a checkpoint by its label, or else by its id: labels may consist of hexadecimal digits.
func (c *Client) lookUp(ctx context.Context, name string, after StreamID, limit uint32) (*wire.GetCheckpointReply, error) {
	if err := checkName("checkpoint", name); err != nil {
		return nil, err
	}
	ask := func(ref wire.CheckpointRef) (*wire.GetCheckpointReply, error) {
		reply, err := c.do(ctx, &wire.GetCheckpoint{Of: c.cfg.tenant, Ref: ref, After: after, Limit: limit})
		if err != nil {
			return nil, err
		}
		return reply.(*wire.GetCheckpointReply), nil
	}
	r, err := ask(wire.CheckpointRef{Label: name})
	if id, bad := wire.ParseCheckpointID(name); bad == nil && errors.Is(err, ErrCheckpointNotFound) {
		return ask(wire.CheckpointRef{ID: id})
	}
	return r, err
}

func checkpoint(d *wire.CheckpointInfo) Checkpoint {
	return Checkpoint{ID: d.ID, Label: d.Label.Value, Position: d.Position, Time: instant(d.Time), Size: d.Size}
}
