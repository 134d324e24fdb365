package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/kimberlitedb/kimberlite-go/internal/bench"
	"github.com/spf13/cobra"
)

// newBenchCommand measures a server of its own, on the disk of a directory.
func newBenchCommand() *cobra.Command {
	var cfg bench.Config
	var output string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a server on this machine, and the disk beside it",
		Long: `Measure a server on this machine: the production drivers over loopback, with the data in a directory of its own
that is removed afterwards. Beside each figure stands what the device does alone: write and fdatasync of batches of the
size that occurred, into a file written in full before, in the same directory and alternating with the test. Figures are
medians over the rounds. CPU seconds are those of the server and of its clients together.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var results []bench.Result
			err := bench.Run(cmd.Context(), cfg, func(r bench.Result) {
				fmt.Fprintf(cmd.ErrOrStderr(), "measured %s\n", r.Name)
				results = append(results, r)
			})
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(results)
			}
			return printBench(cmd, results)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", ".", "measure on this directory's disk")
	f.IntVar(&cfg.Size, "size", 256, "bytes of one event")
	f.DurationVar(&cfg.Duration, "duration", 2*time.Second, "of one measurement")
	f.IntVar(&cfg.Rounds, "rounds", 5, "how many times each is measured")
	f.StringVar(&cfg.Only, "only", "", "measure only the scenario of this name")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func printBench(cmd *cobra.Command, results []bench.Result) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCENARIO\tEVENTS/S\tMB/S\tP50 µs\tP99 µs\tCPU s/M\tDISK B/EVENT\tBATCHES/S\tDEVICE/S\tRATIO")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%.2f\n",
			r.Name, r.Events, r.Megabytes, r.P50, r.P99, r.CPU, r.DiskBytes, r.Batches, r.Device, r.Ratio)
	}
	return w.Flush()
}
