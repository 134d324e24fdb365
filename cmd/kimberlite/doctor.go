package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/spf13/cobra"
)

func newDoctor(a *app) *cobra.Command {
	var data string
	var repair, yes bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check a data directory that no server uses",
		Long: `Check a data directory that no server uses, sealed files and log: every entry and every event against its
checksum, and every snapshot, of tables too, against the log. Nothing is changed.

With --repair, what can be set right is planned and printed: a manifest that is damaged or gone is made anew from the files
that are there, and a sealed file whose index is damaged from its blocks. With --yes too, the plan is carried out and the
directory checked again. Nothing is deleted: what is replaced is kept in files kept-*. Copy the directory first.

The exit code is 0 where all is well, or where the next start of a server sets right what a crash has left, and 1 where
something is damaged.`,
		Example: `  kimberlite doctor --data /var/lib/kimberlite
  kimberlite doctor -o json | jq .findings
  kimberlite doctor --data /var/lib/kimberlite --repair`,
		Args: args(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&data, "data", "kimberlite-data", "data directory")
	cmd.Flags().BoolVar(&repair, "repair", false, "plan what can be set right")
	cmd.Flags().BoolVar(&yes, "yes", false, "carry the plan out")
	cmd.Flags().VarP(&a.format, "output", "o", "what to print: table or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if a.format != formatTable && a.format != formatJSON {
			return usage(cmd, errors.New("doctor prints table or json"))
		}
		switch {
		case yes && !repair:
			return usage(cmd, errors.New("--yes belongs to --repair"))
		case repair:
			return a.repair(data, yes)
		}
		return a.doctor(data)
	}
	return cmd
}

// repair prints what can be set right, and does it where told to.
func (a *app) repair(data string, yes bool) error {
	plan, err := host.PlanRepair(data)
	if err != nil {
		return &failure{fmt.Errorf("repair %s: %w", data, err), exitFailed, "put what is damaged back from a copy of the data directory"}
	}
	if len(plan.Steps) == 0 {
		fmt.Fprintln(a.stdout, "nothing can be set right by a repair; doctor without --repair says what is damaged")
		return nil
	}
	for i, s := range plan.Steps {
		fmt.Fprintf(a.stdout, "%d. %s\n", i+1, s.Does)
	}
	if !yes {
		return &failure{errors.New("nothing is changed"), exitFailed, "copy the directory, and carry the plan out with --repair --yes"}
	}
	if err := host.Repair(data); err != nil {
		return &failure{fmt.Errorf("repair %s: %w", data, err), exitFailed, "run it again when that is set right"}
	}
	fmt.Fprintln(a.stdout, "done")
	return a.doctor(data)
}

func (a *app) doctor(data string) error {
	report, err := host.Check(data)
	if err != nil && len(report.Findings) == 0 {
		return &failure{fmt.Errorf("check %s: %w", data, err), exitFailed,
			"name the data directory of a server that is stopped with --data; if the manifest is damaged, put it back from a copy"}
	}
	printed := printReport
	if a.format == formatJSON {
		printed = printReportJSON
	}
	if perr := printed(a.stdout, report); perr != nil {
		return perr
	}
	switch {
	case err != nil:
		return &failure{fmt.Errorf("the check of %s could not go on: %w", data, err), exitFailed, "set right what is named above, and check again"}
	case report.Damaged():
		return &failure{fmt.Errorf("%s is damaged", data), exitFailed, "copy the directory before anything else is done with it"}
	}
	return nil
}

// advice is what kinds of findings mean, and what to do next.
var advice = map[engine.FindingKind]struct{ means, next string }{
	engine.Leftover: {
		"a crash has left a file that was not finished; nothing is lost by it",
		"nothing; the next start of the server removes it",
	},
	engine.TornTail: {
		"a crash has left a write that was not finished; nobody was told that it was durable",
		"nothing; the next start of the server sets it aside, in a file torn-*.bin",
	},
	engine.Corruption: {
		"the disk does not hold what was written to it",
		"look for the disk's own errors, put the file back from a copy of the data directory, and check again; without a copy, " +
			"everything that is not named here stays readable, and tenants whose entries are lost take no more writes",
	},
	engine.Scar: {
		"the disk does not hold what was written to it, in a place where nothing lies that counts; nothing is lost by it",
		"look for the disk's own errors; they may go on",
	},
	engine.MissingSegment: {
		"a file of the log is gone, and the server does not start without it",
		"put the file back from a copy of the data directory, and check again",
	},
	engine.BadSnapshot: {
		"a snapshot cannot be used; nothing is lost by it while there is another one, or the log reaches back to its first entry",
		"look for the disk's own errors; the server writes a new one as the log grows",
	},
	engine.BadTables: {
		"a snapshot of a tenant's tables cannot be used; nothing is lost by it while there is another one, or the tenant's statements are all there. Where it says that statements are let go of, the tables are lost",
		"look for the disk's own errors; the server passes it over, and writes a new one when there are more statements; where the tables are lost, put a snapshot of them back from a copy of the data directory",
	},
	engine.BadCheckpoint: {
		"what is kept of a checkpoint cannot be used; no event is lost by it, but what proves what there was. A file of leaves serves all later checkpoints of the tenant",
		"look for the disk's own errors, and put the file back from a copy of the data directory; without one, delete the checkpoint and cut another. Archives that have it are not touched",
	},
	engine.BadSealed: {
		"the disk does not hold what was written to a sealed file",
		"look for the disk's own errors, put the file back from a copy of the data directory, and check again; without a copy, " +
			"everything that is not named here stays readable",
	},
	engine.MissingEvents: {
		"no file holds these events, and no damage that is still there says why; reads of them fail",
		"look into files torn-*.bin and into copies of the data directory",
	},
	engine.BadEvent: {
		"an event is not what its checksum says, although its entry is as it was written; readers refuse it",
		"check the server's memory, and append the event again from its source",
	},
}

// printReport tells what was found, and what to do.
func printReport(w io.Writer, r *engine.CheckReport) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s\n", f.Kind, places(f.Where))
		line := func(name, text string) {
			if text != "" {
				fmt.Fprintf(&b, "  %-7s %s\n", name, text)
			}
		}
		line("detail", f.Detail)
		if f.First > 0 {
			line("lost", span("entry", "entries", uint64(f.First), uint64(f.Last))+" of the log")
		}
		for _, t := range f.Tenants {
			line("tenant", loss(t, f.First > 0))
		}
		line("means", advice[f.Kind].means)
		line("do", advice[f.Kind].next)
		b.WriteByte('\n')
	}
	if len(r.Kept) > 0 {
		fmt.Fprintf(&b, "%d files torn-*.bin and kept-* hold unfinished writes of earlier crashes, damaged pieces of the log, and what repairs have replaced; they may be deleted\n", len(r.Kept))
	}
	ofTables := ""
	if r.Tables > 0 {
		ofTables = fmt.Sprintf(", and %d of tables,", r.Tables)
	}
	if r.Checkpoints > 0 {
		ofTables += fmt.Sprintf(" and %d checkpoints,", r.Checkpoints)
	}
	fmt.Fprintf(&b, "checked %d segments, %d sealed files (%d bytes) and %d snapshots%s up to entry %d: %d entries in %d batches (%d bytes), %d events (%d bytes) in %d streams of %d tenants\n",
		r.Segments, r.Sealed, r.SealedSize, r.Snapshots, ofTables, r.LSN, r.Entries, r.Batches, r.LogBytes, r.Events, r.EventBytes, r.Streams, r.Tenants)
	if !r.Damaged() {
		b.WriteString("nothing is damaged\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// places are the pieces of files that a finding is about.
func places(where []engine.Damage) string {
	var list []string
	for _, d := range where {
		list = append(list, fmt.Sprintf("%s, %d bytes at %d", d.File, d.Length, d.Offset))
	}
	return strings.Join(list, "; ")
}

// loss says what a tenant has lost.
func loss(t engine.TenantLoss, entries bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %q", t.Tenant, t.Name)
	switch {
	case entries && t.Entries == 0 && len(t.Streams) == 0:
		b.WriteString(": may have lost entries; nothing later of it is there to tell")
	case entries:
		fmt.Fprintf(&b, ": %d of its entries", t.Entries)
	}
	for _, s := range t.Streams {
		fmt.Fprintf(&b, "; stream %d %q", s.Stream, s.Name)
		if s.From < s.To {
			b.WriteString(", " + span("offset", "offsets", uint64(s.From), uint64(s.To-1)))
		} else {
			b.WriteString(", its making")
		}
	}
	return b.String()
}

// span names a range that includes its end.
func span(one, many string, from, to uint64) string {
	if from == to {
		return fmt.Sprintf("%s %d", one, from)
	}
	return fmt.Sprintf("%s %d to %d", many, from, to)
}

// jsonReport is a report as JSON.
type jsonReport struct {
	Damaged     bool          `json:"damaged"`
	Findings    []jsonFinding `json:"findings"`
	Kept        []string      `json:"kept,omitempty"`
	LastEntry   uint64        `json:"last_entry"`
	Segments    int           `json:"segments"`
	Sealed      int           `json:"sealed_files"`
	SealedSize  int64         `json:"sealed_bytes"`
	Snapshots   int           `json:"snapshots"`
	Tables      int           `json:"table_snapshots"`
	Checkpoints int           `json:"checkpoints"`
	Batches     int           `json:"batches"`
	LogBytes    int64         `json:"log_bytes"`
	Entries     int           `json:"entries"`
	Events      int           `json:"events"`
	EventBytes  int64         `json:"event_bytes"`
	Tenants     int           `json:"tenants"`
	Streams     int           `json:"streams"`
}

type jsonFinding struct {
	Kind       engine.FindingKind `json:"kind"`
	Damage     bool               `json:"damage"`
	Where      []jsonPlace        `json:"where"`
	FirstEntry uint64             `json:"first_lost_entry,omitempty"`
	LastEntry  uint64             `json:"last_lost_entry,omitempty"`
	Tenants    []jsonLoss         `json:"tenants,omitempty"`
	Detail     string             `json:"detail,omitempty"`
	Next       string             `json:"next"`
}

type jsonPlace struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// jsonLoss is what a tenant has lost; entries is missing where nobody can tell.
type jsonLoss struct {
	Tenant  uint64           `json:"tenant"`
	Name    string           `json:"name"`
	Entries uint64           `json:"entries,omitempty"`
	Streams []jsonStreamLoss `json:"streams,omitempty"`
}

type jsonStreamLoss struct {
	Stream uint64 `json:"stream"`
	Name   string `json:"name"`
	From   uint64 `json:"from"` // the first lost offset
	To     uint64 `json:"to"`   // the first that is there again
}

func printReportJSON(w io.Writer, r *engine.CheckReport) error {
	v := jsonReport{
		Damaged: r.Damaged(), Findings: []jsonFinding{}, Kept: r.Kept, LastEntry: uint64(r.LSN), Segments: r.Segments,
		Sealed: r.Sealed, SealedSize: r.SealedSize, Snapshots: r.Snapshots, Tables: r.Tables, Checkpoints: r.Checkpoints,
		Batches: r.Batches, LogBytes: r.LogBytes, Entries: r.Entries, Events: r.Events, EventBytes: r.EventBytes, Tenants: r.Tenants, Streams: r.Streams,
	}
	for _, f := range r.Findings {
		v.Findings = append(v.Findings, findingJSON(f))
	}
	return json.NewEncoder(w).Encode(v)
}

func findingJSON(f engine.Finding) jsonFinding {
	v := jsonFinding{
		Kind: f.Kind, Damage: f.Kind.Damage(), FirstEntry: uint64(f.First), LastEntry: uint64(f.Last), Detail: f.Detail, Next: advice[f.Kind].next,
	}
	for _, d := range f.Where {
		v.Where = append(v.Where, jsonPlace(d))
	}
	for _, t := range f.Tenants {
		l := jsonLoss{Tenant: uint64(t.Tenant), Name: t.Name, Entries: t.Entries}
		for _, s := range t.Streams {
			l.Streams = append(l.Streams, jsonStreamLoss{uint64(s.Stream), s.Name, uint64(s.From), uint64(s.To)})
		}
		v.Tenants = append(v.Tenants, l)
	}
	return v
}
