package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newRead(a *app) *cobra.Command {
	var from, maxBytes uint64
	var limit uint32
	cmd := remote(a, &cobra.Command{
		Use:   "read STREAM",
		Short: "Print a stream's events, to its end",
		Long: `Print a stream's events from an offset on, to its end. Every event is verified against its checksum.

With -o jsonl or json, "data" is the event itself if it is JSON, else a string; what is not text is "data_base64".
With -o raw it is the event's bytes and a line end.`,
		Example: `  kimberlite read orders --from 1700 -o jsonl
  kimberlite read orders --limit 10`,
		Args: args(cobra.ExactArgs(1)),
	})
	cmd.Flags().Uint64Var(&from, "from", 0, "offset of the first event")
	cmd.Flags().Uint32Var(&limit, "limit", 0, "print at most so many events; 0 for all")
	cmd.Flags().Uint64Var(&maxBytes, "max-bytes", 0, "stop once so many bytes of event data are printed; 0 for all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var options []client.ReadOption
		if limit > 0 {
			options = append(options, client.MaxEvents(limit))
		}
		if maxBytes > 0 {
			options = append(options, client.MaxBytes(maxBytes))
		}
		return a.read(cmd, args[0], client.Offset(from), options)
	}
	return cmd
}

func (a *app) read(cmd *cobra.Command, name string, from client.Offset, options []client.ReadOption) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		stream, err := find(cmd.Context(), c, name)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, a.format, "OFFSET", "TIMESTAMP", "DATA")
		for e, err := range c.Events(cmd.Context(), stream.ID, from, options...) {
			if err != nil {
				return err
			}
			if err := p.print(p.event(&e)); err != nil {
				return err
			}
		}
		return p.close()
	})
}

// event makes the shape of a row that the printer needs.
func (p *printer) event(e *client.Event) row {
	switch p.format {
	case formatRaw:
		return row{raw: e.Data}
	case formatTable:
		return row{cells: []string{strconv.FormatUint(uint64(e.Offset), 10), stamp(e.Timestamp), printable(e.Data)}}
	}
	return row{value: eventJSON(e)}
}

// jsonEvent is an event as JSON. One of Data and Bytes is set; an event of no bytes is the string "".
type jsonEvent struct {
	Offset    client.Offset `json:"offset"`
	Timestamp string        `json:"timestamp"`
	Data      any           `json:"data,omitempty"`
	Bytes     []byte        `json:"data_base64,omitempty"`
}

func eventJSON(e *client.Event) jsonEvent {
	v := jsonEvent{Offset: e.Offset, Timestamp: stamp(e.Timestamp)}
	switch {
	case !utf8.Valid(e.Data):
		v.Bytes = e.Data
	case json.Valid(e.Data):
		v.Data = json.RawMessage(e.Data)
	default:
		v.Data = string(e.Data)
	}
	return v
}

// printable returns an event's data for a table on a terminal: what could move the cursor is quoted.
func printable(data []byte) string {
	s := string(data)
	if utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}
