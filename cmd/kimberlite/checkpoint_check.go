package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

func newCheckpointCheck(a *app) *cobra.Command {
	var keys, event string
	cmd := &cobra.Command{
		Use:   "check-proof FILE",
		Short: "Check a proof, without any server or archive",
		Long: `Check a proof that kimberlite checkpoint prove has written, and print what it proves; - is standard input. It takes the public key alone. The
exit code is 1 where the proof proves nothing.

A proof of an event that is gone proves the hash of it. If you have kept the event, in an earlier proof, give that with --event: then it is
proven that the event was there.`,
		Example: `  kimberlite checkpoint check-proof proof.json --key kimberlite.pub`,
		Args:    args(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.StringVar(&keys, "key", "", "file of the public keys of who has signed the checkpoints")
	f.StringVar(&event, "event", "", "an earlier proof, which has the event")
	f.VarP(&a.format, "output", "o", "what to print: table, json, jsonl or raw (the event's data)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if keys == "" {
			return usage(cmd, errors.New("--key is missing: give the file of the public keys, which you have from who runs the server"))
		}
		text, err := os.ReadFile(keys)
		if err != nil {
			return err
		}
		known, err := proof.Verifiers(text)
		if err != nil {
			return fmt.Errorf("%s: %w", keys, err)
		}
		in, con, err := readProof(args[0], a.stdin)
		if err == nil && event != "" {
			err = attach(in, event)
		}
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			return err
		}
		if err != nil {
			return unproven(err)
		}
		if con != nil {
			return a.checkConsistency(con, known)
		}
		return a.checkInclusion(in, known)
	}
	return cmd
}

// unproven says that something is not proven.
func unproven(err error) error {
	return &failure{fmt.Errorf("nothing is proven: %w", err), exitFailed, "ask for the proof once more, and have the public key from who runs the server, by another way"}
}

func readProof(name string, stdin io.Reader) (*proof.Inclusion, *proof.Consistency, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		r = f
	}
	text, err := io.ReadAll(io.LimitReader(r, proof.MaxDocument+1))
	if err != nil {
		return nil, nil, err
	}
	return proof.Decode(text)
}

// attach puts the event of an earlier proof into one that has its leaf.
func attach(in *proof.Inclusion, name string) error {
	old, _, err := readProof(name, nil)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case in == nil || old == nil || old.Event == nil:
		return fmt.Errorf("%s: --event goes with a proof of an event, and with an earlier one that has it", name)
	}
	return in.Attach(old.Event)
}

// signedJSON says whose word something is.
type signedJSON struct {
	Store      string        `json:"store"`
	Tenant     wire.TenantID `json:"tenant"`
	Checkpoint string        `json:"checkpoint"`
	Label      string        `json:"label,omitempty"`
	Position   wire.Position `json:"position"`
	Time       string        `json:"time"`
	SignedBy   []string      `json:"signed_by"`
}

func signed(n *proof.Note, by []string) signedJSON {
	return signedJSON{fmt.Sprintf("%016x", uint64(n.Store)), n.Tenant, n.ID.String(), n.Label, n.Position, stamp(timeOf(n.Time)), by}
}

func timeOf(t wire.Time) time.Time { return time.Unix(0, int64(t)) }

func (s *signedJSON) facts(name string) []fact {
	return []fact{
		{name, strings.TrimSpace(s.Checkpoint + " " + s.Label)}, {"position", fmt.Sprint(s.Position)}, {"time", s.Time},
		{"of", fmt.Sprintf("tenant %d of store %s", s.Tenant, s.Store)}, {"signed by", strings.Join(s.SignedBy, ", ")},
	}
}

// includedJSON is what an inclusion proof proves, as JSON.
type includedJSON struct {
	Proven     string        `json:"proven"` // event, leaf or absent
	Signed     signedJSON    `json:"checkpoint"`
	StreamID   wire.StreamID `json:"stream_id"`
	Stream     string        `json:"stream"`
	Offset     wire.Offset   `json:"offset"`
	Leaf       string        `json:"leaf"`
	Reason     string        `json:"reason,omitempty"`
	Position   wire.Position `json:"position,omitempty"`
	CommitTime string        `json:"commit_time,omitempty"`
	Event      *jsonEvent    `json:"event,omitempty"`
}

func (a *app) checkInclusion(d *proof.Inclusion, keys proof.Keys) error {
	in, err := d.Verify(keys)
	if err != nil {
		return unproven(err)
	}
	v := includedJSON{
		Proven: "leaf", Signed: signed(in.Note, in.By), StreamID: in.Line.ID, Stream: in.Line.Name, Offset: in.Offset, Leaf: proof.Digest(in.Leaf).String(), Reason: in.Absent,
	}
	claim := "the checkpoint had an event there, which has this leaf"
	facts := []fact{{"stream", fmt.Sprintf("%d %s", v.StreamID, printable([]byte(v.Stream)))}, {"offset", fmt.Sprint(v.Offset)}, {"leaf", v.Leaf}}
	var raw []byte
	switch {
	case in.Absent != "":
		v.Proven, claim = "absent", "the event was gone before the checkpoint hashed it: "+in.Absent
	case in.Event != nil:
		e := client.Event{Offset: in.Event.Offset, Data: in.Event.Data, Timestamp: timeOf(in.Event.Timestamp)}
		shown := eventJSON(&e)
		v.Proven, claim, raw = "event", "the checkpoint had this event", e.Data
		v.Position, v.CommitTime, v.Event = in.Position, stamp(timeOf(in.Commit)), &shown
		facts = append(facts, fact{"appended at", fmt.Sprintf("position %d, %s", v.Position, v.CommitTime)}, fact{"event time", shown.Timestamp}, fact{"data", printable(e.Data)})
	}
	if a.format == formatTable {
		return printFacts(a.stdout, append(append([]fact{{"proven", claim}}, facts...), v.Signed.facts("checkpoint")...))
	}
	return printOne(a.stdout, a.format, nil, row{value: v, raw: raw})
}

// extendedJSON is what a consistency proof proves, as JSON.
type extendedJSON struct {
	Proven  string             `json:"proven"` // unchanged
	Whole   bool               `json:"whole"`
	Earlier signedJSON         `json:"earlier"`
	Later   signedJSON         `json:"later"`
	Streams []provenStreamJSON `json:"streams"`
}

// provenStreamJSON is what it says of a stream.
type provenStreamJSON struct {
	ID    wire.StreamID `json:"stream_id"`
	Name  string        `json:"stream"`
	State string        `json:"state"` // unchanged, new or purged
	Base  wire.Offset   `json:"base"`
	From  wire.Offset   `json:"from"` // head at the earlier checkpoint
	To    wire.Offset   `json:"to"`   // at the later one
}

func (a *app) checkConsistency(d *proof.Consistency, keys proof.Keys) error {
	x, err := d.Verify(keys)
	if err != nil {
		return unproven(err)
	}
	v := extendedJSON{"unchanged", x.Whole, signed(x.Earlier, x.EarlierBy), signed(x.Later, x.LaterBy), []provenStreamJSON{}}
	claim := "in these streams the later checkpoint has every event that the earlier one had"
	if x.Whole {
		claim = "the later checkpoint has every event that the earlier one had, but for streams that are purged"
	}
	facts := []fact{{"proven", claim}}
	for _, s := range x.Streams {
		line := s.Later
		j := provenStreamJSON{State: "unchanged"}
		switch {
		case s.Later == nil:
			line, j.State, j.From = s.Earlier, "purged", s.Earlier.Head
		case s.Earlier == nil:
			j.State, j.To = "new", s.Later.Head
		default:
			j.From, j.To = s.Earlier.Head, s.Later.Head
		}
		j.ID, j.Name, j.Base = line.ID, line.Name, line.Base
		v.Streams = append(v.Streams, j)
		facts = append(facts, fact{j.State, fmt.Sprintf("%d %s, from %d: %d to %d", j.ID, printable([]byte(j.Name)), j.Base, j.From, j.To)})
	}
	if a.format == formatTable {
		return printFacts(a.stdout, append(append(facts, v.Earlier.facts("earlier")...), v.Later.facts("later")...))
	}
	return printOne(a.stdout, a.format, nil, row{value: v, raw: []byte(v.Later.Checkpoint)})
}
