package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// stock makes a stream with so many events, whose data are their offsets.
func stock(t *testing.T, c *client.Client, name string, count int) client.StreamID {
	t.Helper()
	id, err := c.CreateStream(within(t), name)
	if err == nil && count > 0 {
		err = number(within(t), c, id, 0, count)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// number appends events whose data are their offsets, some at a time.
func number(ctx context.Context, c *client.Client, id client.StreamID, first, count int) error {
	for next := first; next < first+count; {
		var events [][]byte
		for range min(7, first+count-next) {
			events = append(events, fmt.Append(nil, next))
			next++
		}
		if _, err := c.Append(ctx, id, events); err != nil {
			return err
		}
	}
	return nil
}

// A subscription gets every event once and in order, those that were there and those that come meanwhile, whatever the
// window and the codec.
func TestSubscriptionCatchesUpAndGoesOnLive(t *testing.T) {
	addr := hosttest.Server(t)
	for i, options := range [][]client.SubscribeOption{
		nil,
		{client.Window(1, 1)},
		{client.Window(100, 1<<20)},
		{client.Window(1<<40, 2000)},
	} {
		for _, codec := range []client.Codec{none, client.LZ4, client.Zstd} {
			t.Run(fmt.Sprint(i, codec), func(t *testing.T) {
				c, ctx := dial(t, addr, client.WithCompression(codec)), within(t)
				const before, live = 2000, 500
				id := stock(t, c, fmt.Sprintf("s%d%v", i, codec), before)
				var group sync.WaitGroup
				group.Go(func() {
					if err := number(ctx, c, id, before, live); err != nil {
						t.Error(err)
					}
				})
				next, caughtUp := client.Offset(0), 0
				options := append(slices.Clone(options), client.OnCaughtUp(func(at client.Offset) {
					if caughtUp++; at != next {
						t.Errorf("caught up at %d after %d events", at, next)
					}
				}))
				for e, err := range c.Subscribe(ctx, id, 0, options...) {
					if err != nil || e.Offset != next || string(e.Data) != fmt.Sprint(next) || e.Timestamp.IsZero() {
						t.Fatalf("event %d is %q where %d is due, %v", e.Offset, e.Data, next, err)
					}
					if next++; next == before+live {
						break
					}
				}
				group.Wait()
			})
		}
	}
}

// Where a subscription begins, and what it gets when more events come once it has caught up.
func TestSubscriptionBegins(t *testing.T) {
	addr := hosttest.Server(t)
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	for i, test := range []struct {
		name    string
		from    client.Offset
		options []client.SubscribeOption
		at      client.Offset // where it is told that it has caught up
		want    string
	}{
		{"at the beginning", 0, nil, 4, "[0 10 5 20 7 30 31]"},
		{"at an offset", 2, nil, 4, "[5 20 7 30 31]"},
		{"at the last event", 3, nil, 4, "[20 7 30 31]"},
		{"at the head", 4, nil, 4, "[7 30 31]"},
		{"at the end", client.End, nil, 4, "[7 30 31]"},
		{"at a time", 0, []client.SubscribeOption{client.SubscribeSince(at(10))}, 4, "[10 5 20 7 30 31]"},
		{"at a time between", 0, []client.SubscribeOption{client.SubscribeSince(at(6))}, 4, "[10 5 20 7 30 31]"},
		{"at a time behind an offset", 2, []client.SubscribeOption{client.SubscribeSince(at(15))}, 4, "[20 7 30 31]"},
		{"at an offset behind a time", 2, []client.SubscribeOption{client.SubscribeSince(at(10))}, 4, "[20 7 30 31]"},
		{"at a time that is to come", 0, []client.SubscribeOption{client.SubscribeSince(at(30))}, 4, "[30 31]"},
		{"at a time before all", 0, []client.SubscribeOption{client.SubscribeSince(time.Time{})}, 4, "[0 10 5 20 7 30 31]"},
		{"at the end since a time", client.End, []client.SubscribeOption{client.SubscribeSince(at(25))}, 4, "[30 31]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, ctx := dial(t, addr), within(t)
			id := stock(t, c, fmt.Sprint("s", i), 0)
			put := func(minutes ...int) {
				var events [][]byte
				var times []time.Time
				for _, m := range minutes {
					events, times = append(events, fmt.Append(nil, m)), append(times, at(m))
				}
				if _, err := c.Append(ctx, id, events, client.Timestamps(times...)); err != nil {
					t.Error(err)
				}
			}
			put(0, 10)
			put(5, 20)
			live := false
			options := append(test.options, client.OnCaughtUp(func(next client.Offset) {
				if live {
					return
				}
				if live = true; next != test.at {
					t.Errorf("caught up at %d", next)
				}
				put(7, 30, 31)
			}))
			var got []string
			for e, err := range c.Subscribe(ctx, id, test.from, options...) {
				if err != nil {
					t.Fatal(err)
				}
				if got = append(got, string(e.Data)); got[len(got)-1] == "31" {
					break
				}
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
}

func TestSubscriptionRefused(t *testing.T) {
	c, ctx := dial(t, hosttest.Server(t)), within(t)
	id := stock(t, c, "s", 3)
	for _, test := range []struct {
		name   string
		stream client.StreamID
		from   client.Offset
		code   wire.Code
	}{
		{"unknown stream", 99, 0, wire.StreamNotFound},
		{"behind the head", id, 4, wire.InvalidOffset},
	} {
		t.Run(test.name, func(t *testing.T) {
			var e *client.Error
			for _, err := range c.Subscribe(ctx, test.stream, test.from) {
				if !errors.As(err, &e) || e.Code != test.code {
					t.Fatalf("err = %v", err)
				}
			}
			if e == nil {
				t.Error("it ended without an error")
			}
		})
	}
}

func TestDeletionEndsASubscription(t *testing.T) {
	c, ctx := dial(t, hosttest.Server(t)), within(t)
	id := stock(t, c, "s", 3)
	count := 0
	var last error
	for _, err := range c.Subscribe(ctx, id, 0, client.OnCaughtUp(func(client.Offset) {
		if _, err := c.DeleteStream(ctx, id); err != nil {
			t.Error(err)
		}
	})) {
		if last = err; err == nil {
			count++
		}
	}
	if !errors.Is(last, client.ErrStreamDeleted) || count != 3 {
		t.Errorf("%d events, %v", count, last)
	}
}

func TestContextEndsASubscription(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	id := stock(t, c, "s", 100)
	for _, test := range []struct {
		name   string
		events int // yielded before the context ends; 100 when it has caught up
	}{{"at once", 0}, {"among events", 10}, {"live", 100}} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			if test.events == 0 {
				cancel()
			}
			count := 0
			var last error
			for _, err := range c.Subscribe(ctx, id, 0, client.Window(10, 1<<20), client.OnCaughtUp(func(client.Offset) { cancel() })) {
				if last = err; err != nil {
					continue
				}
				if count++; count == test.events && count < 100 {
					cancel()
				}
			}
			if !errors.Is(last, context.Canceled) || count < test.events || count >= test.events+10 {
				t.Errorf("%d events, %v", count, last)
			}
		})
	}
	if err := c.Ping(within(t)); err != nil {
		t.Error(err)
	}
}

// Breaks anywhere cost no event, and none comes twice.
func TestSubscriptionOverBreakingConnections(t *testing.T) {
	addr := hosttest.Server(t)
	solid, ctx := dial(t, addr), within(t)
	const events = 4000
	id := stock(t, solid, "s", events/2)
	var group sync.WaitGroup
	for i, codec := range []client.Codec{none, client.LZ4, client.Zstd} {
		group.Go(func() {
			frail := &frailDialer{rng: rand.New(rand.NewPCG(5, uint64(i)))}
			var c *client.Client
			for err := errFrail; err != nil; {
				c, err = client.Dial(ctx, addr, client.WithDialer(frail.dial), client.WithCompression(codec))
			}
			defer c.Close()
			next := client.Offset(0)
			for e, err := range c.Subscribe(ctx, id, 0, client.Window(50, 1<<20)) {
				if err != nil || e.Offset != next || string(e.Data) != fmt.Sprint(next) {
					t.Errorf("event %d is %q where %d is due, %v", e.Offset, e.Data, next, err)
					return
				}
				if next++; next == events {
					return
				}
			}
		})
	}
	if err := number(ctx, solid, id, events/2, events/2); err != nil {
		t.Error(err)
	}
	group.Wait()
}

// A subscription outlives a restart of the server, with events appended on either side of it.
func TestSubscriptionOutlivesServerRestart(t *testing.T) {
	dir := t.TempDir()
	addr, stop, err := hosttest.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, ctx := dial(t, addr), within(t)
	id := stock(t, c, "s", 5)
	caughtUp := 0
	var restarted *host.Host
	defer func() {
		if restarted != nil {
			restarted.Close()
		}
	}()
	next := client.Offset(0)
	for e, err := range c.Subscribe(ctx, id, 0, client.OnCaughtUp(func(client.Offset) {
		if caughtUp++; caughtUp > 1 {
			return
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		cfg := host.DefaultConfig(dir)
		cfg.Listen, cfg.Admin, cfg.Log = addr, "", slog.New(slog.NewTextHandler(io.Discard, nil))
		if restarted, err = host.Start(cfg); err != nil {
			t.Fatal(err)
		}
		if err := number(ctx, dial(t, addr), id, 5, 5); err != nil {
			t.Error(err)
		}
	})) {
		if err != nil || e.Offset != next || string(e.Data) != fmt.Sprint(next) {
			t.Fatalf("event %d is %q where %d is due, %v", e.Offset, e.Data, next, err)
		}
		if next++; next == 10 {
			break
		}
	}
	if caughtUp == 0 {
		t.Error("it was never told that it had caught up")
	}
}
