package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

// archiveFlags say which checkpoint of an archive is meant, and whose signature is believed.
type archiveFlags struct {
	keys   string
	name   string
	tenant uint64
}

func (o *archiveFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.keys, "key", "", "file of the public keys of who has signed the checkpoints")
	f.StringVar(&o.name, "checkpoint", "", "label or id of the checkpoint")
	f.Uint64Var(&o.tenant, "of-tenant", 0, "only checkpoints of this tenant")
}

// open opens an archive for reading, and the keys.
func (o *archiveFlags) open(ctx context.Context, cmd *cobra.Command, where string) (*archive.Box, proof.Keys, error) {
	if o.keys == "" {
		return nil, nil, usage(cmd, errors.New("--key is missing: give the file of the public keys, which you have from who runs the server; there (kimberlite checkpoint key show) prints them"))
	}
	text, err := os.ReadFile(o.keys)
	if err != nil {
		return nil, nil, err
	}
	keys, err := proof.Verifiers(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.keys, err)
	}
	objects, err := host.OpenArchive(ctx, where)
	if err != nil {
		return nil, nil, err
	}
	box := &archive.Box{Objects: objects}
	if err := box.Check(); errors.Is(err, seg.ErrNotExist) {
		return nil, nil, &failure{fmt.Errorf("%s: %w", where, archive.ErrNoArchive), exitNotFound, "give the directory or bucket that checkpoints were sent to"}
	} else if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", where, err)
	}
	return box, keys, nil
}

// find returns the checkpoints of an archive that are meant.
func (o *archiveFlags) find(box *archive.Box) (list []archive.Place, err error) {
	all, err := box.Find("")
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if o.tenant != 0 && p.Tenant != wire.TenantID(o.tenant) {
			continue
		}
		if o.name != "" && p.ID.String() != o.name {
			signed, err := box.Get(p.Note())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Note(), err)
			}
			note, err := proof.Read(signed)
			if err != nil || wire.Fold(note.Label) != wire.Fold(o.name) {
				continue // one that is damaged is found when all are verified
			}
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, &failure{errors.New("there is no such checkpoint in the archive"), exitNotFound, "kimberlite checkpoint verify without --checkpoint shows all that there are"}
	}
	return list, nil
}

func newCheckpointVerify(a *app) *cobra.Command {
	o := archiveFlags{}
	cmd := &cobra.Command{
		Use:   "verify ARCHIVE",
		Short: "Verify the checkpoints of an archive, without any server",
		Long: `Verify the checkpoints of an archive, a directory or a bucket: the signature of each note, the manifest and the state that it commits to,
every event of every stream against its tree, the dump of the tables, and that each checkpoint of a tenant goes on from the one before.
Nothing is asked of any server. What retention or a purge has removed is counted as gone; that it was there, and nothing else, is still proven.

Exit code 1 says that something is not what was signed, and which.`,
		Example: `  kimberlite checkpoint verify /srv/audits --key kimberlite.pub
  kimberlite checkpoint verify 's3://audits/kimberlite?region=eu-central-1' --key kimberlite.pub --checkpoint Q4-2026-audit`,
		Args: args(cobra.ExactArgs(1)),
	}
	o.register(cmd)
	cmd.Flags().VarP(&a.format, "output", "o", "what to print: table, json or jsonl")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		box, keys, err := o.open(cmd.Context(), cmd, args[0])
		if err != nil {
			return err
		}
		list, err := o.find(box)
		if err != nil {
			return err
		}
		return a.verify(box, keys, list)
	}
	return cmd
}

// provenJSON is what verifying a checkpoint has found, as JSON.
type provenJSON struct {
	Checkpoint string        `json:"checkpoint"`
	Label      string        `json:"label,omitempty"`
	Tenant     wire.TenantID `json:"tenant"`
	Position   wire.Position `json:"position"`
	SignedBy   []string      `json:"signed_by,omitempty"`
	Streams    int           `json:"streams"`
	Events     uint64        `json:"events"`
	Gone       uint64        `json:"gone"`
	Absent     uint64        `json:"absent"`
	Anew       []string      `json:"anew,omitempty"` // streams whose trees do not go on from those of the checkpoint before
	Tables     int64         `json:"tables"`         // bytes of their dump
	TablesGone string        `json:"tables_gone,omitempty"`
	Wrong      []string      `json:"wrong,omitempty"`
}

func (a *app) verify(box *archive.Box, keys proof.Keys, list []archive.Place) error {
	p := newPrinter(a.stdout, a.format, "CHECKPOINT", "LABEL", "TENANT", "POSITION", "STREAMS", "EVENTS", "GONE", "ABSENT", "TABLES", "VERDICT")
	var before *archive.Checkpoint
	bad := 0
	for _, place := range list {
		v := provenJSON{Checkpoint: place.ID.String(), Tenant: place.Tenant, Position: place.Position}
		c, err := box.Open(place, keys)
		if errors.Is(err, seg.ErrUnavailable) {
			return err
		}
		if err != nil {
			v.Wrong = append(v.Wrong, err.Error())
		} else {
			v.judge(c, before)
			before = c
		}
		verdict := "sound"
		if len(v.Anew) > 0 {
			verdict = "sound, begins anew"
			fmt.Fprintf(a.stderr, "checkpoint %s begins anew in %s: what earlier ones had of them is not compared\n", v.Checkpoint, strings.Join(v.Anew, ", "))
		}
		if len(v.Wrong) > 0 {
			bad++
			verdict = v.Wrong[0]
			for _, w := range v.Wrong {
				fmt.Fprintf(a.stderr, "WRONG: %s\n", w)
			}
		}
		cells := []string{v.Checkpoint, v.Label, fmt.Sprint(v.Tenant), fmt.Sprint(v.Position), fmt.Sprint(v.Streams), fmt.Sprint(v.Events), fmt.Sprint(v.Gone), fmt.Sprint(v.Absent), v.tables(), verdict}
		if err := p.print(row{cells: cells, value: v, raw: []byte(v.Checkpoint)}); err != nil {
			return err
		}
	}
	if err := p.close(); err != nil || bad == 0 {
		return err
	}
	return &failure{fmt.Errorf("%d of %d checkpoints are not what was signed", bad, len(list)), exitFailed, "keep the archive as it is; another copy of it, or the server, may still have them whole"}
}

// tables says what there is of tables.
func (v *provenJSON) tables() string {
	switch {
	case v.TablesGone != "":
		return "gone"
	case v.Tables == 0:
		return "none"
	}
	return fmt.Sprintf("%d B", v.Tables)
}

// judge verifies a checkpoint, and that it goes on from the one before of the same tenant.
func (v *provenJSON) judge(c, before *archive.Checkpoint) {
	v.Label, v.SignedBy, v.Streams = c.Note.Label, c.By, len(c.Manifest.Streams)
	for i := range c.Manifest.Streams {
		line := &c.Manifest.Streams[i]
		s := c.Verify(line)
		v.Events, v.Gone, v.Absent = v.Events+s.Events, v.Gone+s.Gone, v.Absent+s.Absent
		if s.Err != nil {
			v.Wrong = append(v.Wrong, fmt.Sprintf("checkpoint %s: %v", v.Checkpoint, s.Err))
		}
	}
	var err error
	if v.Tables, err = c.VerifyTables(); err != nil {
		v.Wrong = append(v.Wrong, fmt.Sprintf("checkpoint %s: tables: %v", v.Checkpoint, err))
	}
	_, v.TablesGone = c.Dumped()
	if before == nil || before.Tenant != c.Tenant || before.Store != c.Store {
		return
	}
	purged, err := c.PurgedSince(before)
	if err != nil {
		v.Wrong = append(v.Wrong, fmt.Sprintf("checkpoint %s: %v", v.Checkpoint, err))
	}
	for i := range before.Manifest.Streams {
		earlier := &before.Manifest.Streams[i]
		line := c.Manifest.Stream(earlier.ID)
		if line == nil && !purged[earlier.ID] {
			v.Wrong = append(v.Wrong, fmt.Sprintf("checkpoint %s: stream %q of checkpoint %s is left out, and nothing says that it was purged", v.Checkpoint, earlier.Name, before.ID))
		}
		if line == nil {
			continue
		}
		switch err := c.Extends(line, earlier); {
		case err == nil:
		case c.Manifest.Previous != before.ID.String() && (errors.Is(err, proof.ErrBase) || errors.Is(err, proof.ErrAbsent)): // all before were deleted
			v.Anew = append(v.Anew, line.Name)
		default:
			v.Wrong = append(v.Wrong, fmt.Sprintf("checkpoint %s does not go on from %s: %v", v.Checkpoint, before.ID, err))
		}
	}
}
