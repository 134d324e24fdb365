package archive

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The dump of the tables lies in blobs that are cut where what stands there says so: where the tables have changed little, most blobs are
// those of the checkpoint before.

const (
	// typicalPiece is about how long pieces are.
	typicalPiece = 1 << 18
	// leastPiece is how long they are at least, but for the last.
	leastPiece = 1 << 16
)

// Cutter cuts a dump into pieces.
type Cutter struct {
	// Put takes a piece, which may be used until it returns.
	Put func(piece []byte) error

	piece []byte
}

// Add adds an item of the dump, behind which it may be cut.
func (c *Cutter) Add(item []byte) error {
	sum := crc32.ChecksumIEEE(item)
	for len(item) > 0 {
		n := min(len(item), TargetBlob-len(c.piece))
		c.piece, item = append(c.piece, item[:n]...), item[n:]
		// One item in so many is the last of its piece: the longer it is, the likelier.
		last := len(item) == 0 && len(c.piece) >= leastPiece && uint64(sum)*typicalPiece < uint64(n)<<32
		if last || len(c.piece) == TargetBlob {
			if err := c.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Flush gives away what is left.
func (c *Cutter) Flush() error {
	if len(c.piece) == 0 {
		return nil
	}
	err := c.Put(c.piece)
	c.piece = c.piece[:0]
	return err
}

// statements returns the stream of a tenant's statements.
func statements(t wire.TenantID) wire.StreamID { return 3<<62 | wire.StreamID(t) }

// errTables says that an archive does not have the tables that its checkpoint commits to.
var errTables = errors.New("the tables are not those that the manifest commits to")

// Dumped reports whether the dump of the tables is there, and if not why; empty where there are no tables.
func (c *Checkpoint) Dumped() (there bool, gone string) {
	switch {
	case c.Manifest.Tables == nil:
		return false, c.Manifest.TablesGone
	case c.Index.TablesGone != "":
		return false, c.Index.TablesGone
	}
	return true, ""
}

// Tables visits the dump of the tables, piece by piece, each valid until visit returns. What it has visited is worth something only where it
// returns no error: then it is what the manifest commits to.
func (c *Checkpoint) Tables(visit func(piece []byte) error) error {
	there, _ := c.Dumped()
	if !there {
		return errTables
	}
	sum := sha256.New()
	for i := range c.Index.Tables {
		p := &c.Index.Tables[i]
		raw, err := c.box.Blob(p.Blob, MaxBlob)
		if err != nil {
			return err
		}
		if len(raw) != p.Length {
			return fmt.Errorf("%s: it is not as long as the index says: %w", BlobName(p.Digest), ErrDigest)
		}
		sum.Write(raw)
		if err := visit(raw); err != nil {
			return err
		}
	}
	if proof.Digest(sum.Sum(nil)) != *c.Manifest.Tables {
		return errTables
	}
	return nil
}

// VerifyTables checks the dump of the tables, where there is one. Where it is gone, or there was none, nothing is wrong.
func (c *Checkpoint) VerifyTables() (bytes int64, err error) {
	if there, _ := c.Dumped(); !there {
		if len(c.Index.Tables) > 0 {
			return 0, errTables
		}
		return 0, nil
	}
	err = c.Tables(func(p []byte) error {
		bytes += int64(len(p))
		return nil
	})
	return bytes, err
}
