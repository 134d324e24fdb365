package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// defaultAddr is where a server listens and a client looks for one.
const defaultAddr = "127.0.0.1:5644"

// patience is how long a command waits for a server that it has lost.
const patience = 5 * time.Second

// remote makes a command, and those below it, one that talks to a server. Flags go before the environment.
func remote(a *app, cmd *cobra.Command) *cobra.Command {
	f := cmd.PersistentFlags()
	f.StringVar(&a.server, "server", defaultAddr, "address of the server; also KIMBERLITE_SERVER")
	f.Uint64Var(&a.tenant, "tenant", 1, "tenant to act for; also KIMBERLITE_TENANT")
	f.StringVar(&a.token, "token", "", "token to authenticate with; also KIMBERLITE_TOKEN")
	f.VarP(&a.format, "output", "o", "what to print: table, json, jsonl or raw")
	f.Var(&a.codec, "compression", "compress what travels: none, lz4 or zstd")
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return errors.Join(
			fromEnv(cmd, "server", "KIMBERLITE_SERVER"),
			fromEnv(cmd, "tenant", "KIMBERLITE_TENANT"),
			fromEnv(cmd, "token", "KIMBERLITE_TOKEN"),
		)
	}
	return cmd
}

func fromEnv(cmd *cobra.Command, name, variable string) error {
	value, ok := os.LookupEnv(variable)
	f := cmd.Flags().Lookup(name)
	if !ok || value == "" || f.Changed {
		return nil
	}
	if err := f.Value.Set(value); err != nil {
		return usage(cmd, fmt.Errorf("%s is %q: %w", variable, value, err))
	}
	return nil
}

// dial connects to the server. The caller closes the client.
func (a *app) dial(ctx context.Context, more ...client.Option) (*client.Client, error) {
	options := []client.Option{
		client.WithTenant(client.TenantID(a.tenant)), client.WithReconnect(patience), client.WithCompression(client.Codec(a.codec)),
	}
	if a.token != "" {
		options = append(options, client.WithToken(a.token))
	}
	return client.Dial(ctx, a.server, append(options, more...)...)
}

// with runs part of a command that needs a client.
func (a *app) with(ctx context.Context, do func(*client.Client) error) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close() // returns nil
	return do(c)
}

// find looks a stream up by its name, or else by its id: names may consist of digits, ids are no secret to anybody who
// has the name.
func find(ctx context.Context, c *client.Client, nameOrID string) (client.StreamInfo, error) {
	info, err := c.StreamByName(ctx, nameOrID)
	if !errors.Is(err, client.ErrStreamNotFound) {
		return info, err
	}
	id, notNumber := strconv.ParseUint(nameOrID, 10, 64)
	if notNumber != nil {
		return info, err
	}
	return c.StreamInfo(ctx, client.StreamID(id))
}

// findOrCreate looks a stream up and makes it where it is missing.
func findOrCreate(ctx context.Context, c *client.Client, name string) (client.StreamInfo, error) {
	info, err := find(ctx, c, name)
	if !errors.Is(err, client.ErrStreamNotFound) && !errors.Is(err, client.ErrTenantNotFound) { // the server may make tenants, too
		return info, err
	}
	if _, err = c.CreateStream(ctx, name); err != nil && !errors.Is(err, client.ErrStreamExists) { // somebody was faster
		return info, err
	}
	return c.StreamByName(ctx, name)
}

// format is how data are printed.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatJSONL format = "jsonl"
	formatRaw   format = "raw"
	formatCSV   format = "csv" // of rows alone; see rowFormat
)

var _ pflag.Value = (*format)(nil)

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case formatTable, formatJSON, formatJSONL, formatRaw:
		*f = v
		return nil
	}
	return errors.New("must be table, json, jsonl or raw")
}

// codec is how requests and replies are compressed.
type codec client.Codec

var _ pflag.Value = (*codec)(nil)

// String implements pflag.Value.
func (c *codec) String() string { return client.Codec(*c).String() }

// Type implements pflag.Value.
func (c *codec) Type() string { return "codec" }

// Set implements pflag.Value.
func (c *codec) Set(s string) error {
	v, ok := wire.ParseCodec(s)
	if !ok {
		return errors.New("must be none, lz4 or zstd")
	}
	*c = codec(v)
	return nil
}
