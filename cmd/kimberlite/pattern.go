package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// patternFlag is --format.
type patternFlag struct {
	format  string
	pattern pattern // what format means; nil where it is not given
}

func (o *patternFlag) register(f *pflag.FlagSet) {
	f.StringVar(&o.format, "format", "", `print events by a pattern, such as '%o\t%t\t%d'`)
}

func (o *patternFlag) parse(cmd *cobra.Command) (err error) {
	if !cmd.Flags().Changed("format") {
		return nil
	}
	if cmd.Flags().Changed("output") {
		return errors.New("--format and --output exclude each other")
	}
	if o.pattern, err = parsePattern(o.format); err != nil {
		return fmt.Errorf("--format %w", err)
	}
	return nil
}

// eventPrinter prints events, by a pattern or in the format asked for. Close must follow the last one.
type eventPrinter struct {
	*printer
	stdout  *bufio.Writer
	pattern pattern // nil for none
	buf     []byte
}

func (a *app) newEventPrinter(p pattern) *eventPrinter {
	return &eventPrinter{printer: newPrinter(a.stdout, a.format, "OFFSET", "TIMESTAMP", "DATA"), stdout: a.stdout, pattern: p}
}

func (p *eventPrinter) print(e *client.Event) error {
	if p.pattern == nil {
		return p.printer.print(p.event(e))
	}
	p.buf = p.pattern.append(p.buf[:0], e)
	_, err := p.stdout.Write(p.buf)
	return err
}

// flush has whoever reads the output see what was printed.
func (p *eventPrinter) flush() error { return errors.Join(p.printer.flush(), p.stdout.Flush()) }

func (p *eventPrinter) close() error {
	if p.pattern != nil {
		return nil
	}
	return p.printer.close()
}

// pattern is how --format prints an event.
type pattern []part

// part is text, or stands for a part of an event.
type part struct {
	text string
	verb byte // 0 for text
}

// parsePattern reads a format, and adds a line end where it has none. Its errors go on from the flag's name.
func parsePattern(s string) (pattern, error) {
	p := pattern{}
	var text []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' && c != '\\' {
			text = append(text, c)
			continue
		}
		if i++; i == len(s) {
			return nil, fmt.Errorf("%q ends in the middle of %c; double it if it is meant", s, c)
		}
		pair := string([]byte{c, s[i]})
		switch pair {
		case "%o", "%t", "%d", "%c":
			p = append(p, part{text: string(text)}, part{verb: s[i]})
			text = text[:0]
		case "%%", `\\`:
			text = append(text, c)
		case `\n`:
			text = append(text, '\n')
		case `\t`:
			text = append(text, '\t')
		default:
			return nil, fmt.Errorf(`%q has %s; there are %%o, %%t, %%d, %%c, %%%%, \n, \t and \\`, s, pair)
		}
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, '\n')
	}
	return append(p, part{text: string(text)}), nil
}

// append appends an event as the pattern has it.
func (p pattern) append(dst []byte, e *client.Event) []byte {
	for _, x := range p {
		switch x.verb {
		case 'o':
			dst = strconv.AppendUint(dst, uint64(e.Offset), 10)
		case 't':
			dst = append(dst, stamp(e.Timestamp)...)
		case 'd':
			dst = append(dst, e.Data...)
		case 'c':
			dst = fmt.Appendf(dst, "%08x", e.Checksum)
		default:
			dst = append(dst, x.text...)
		}
	}
	return dst
}
