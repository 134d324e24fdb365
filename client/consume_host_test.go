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
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// grouped makes a stream with so many events, whose data are their offsets, and a group of it.
func grouped(t *testing.T, c *client.Client, name string, count int, options ...client.GroupOption) client.StreamID {
	t.Helper()
	id := stock(t, c, name, count)
	if _, err := c.CreateGroup(within(t), id, "g", options...); err != nil {
		t.Fatal(err)
	}
	return id
}

// settled fails unless all events of a stream are settled, with so many parked.
func settled(t *testing.T, c *client.Client, id client.StreamID, parked uint64) {
	t.Helper()
	g, err := c.GroupInfo(within(t), id, "g")
	if err != nil || g.Lag != 0 || g.Floor != g.Head || g.Parked != parked || g.Pending != 0 {
		t.Errorf("%+v, %v", g, err)
	}
}

// untilSettled ends a context once all events of a stream are settled.
func untilSettled(t *testing.T, c *client.Client, id client.StreamID) context.Context {
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if g, err := c.GroupInfo(ctx, id, "g"); err != nil || g.Lag == 0 {
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return ctx
}

// Two consumers share a stream. One dies with what it holds, and the other gets the rest, including that.
func TestConsumersShareAStream(t *testing.T) {
	addr := hosttest.Server(t)
	c := dial(t, addr)
	const events, held = 500, 20
	id := grouped(t, c, "s", events, client.AckDeadline(time.Hour))
	ctx := untilSettled(t, c, id)
	var mu sync.Mutex
	acked := map[client.Offset]int{}
	ack := func(d *client.Delivery) {
		if err := d.AckWait(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
		mu.Lock()
		acked[d.Offset]++
		mu.Unlock()
	}
	var lost []client.Offset
	var attempts atomic.Int64
	dying := dial(t, addr)
	died := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(died)
		for d, err := range dying.Consume(ctx, id, "g", client.Window(50, 1<<20)) {
			if err != nil {
				t.Error(err)
				return
			}
			if d.Offset%2 == 0 && len(lost) < held {
				lost = append(lost, d.Offset)
				continue
			}
			if ack(d); len(lost) == held {
				dying.Close()
				return
			}
		}
	})
	group.Go(func() {
		for d, err := range c.Consume(ctx, id, "g", client.Window(10, 1<<20)) {
			if err != nil {
				return
			}
			if d.Attempt > 1 {
				attempts.Add(1)
			}
			if ack(d); d.Offset > 50 {
				<-died
			}
		}
	})
	group.Wait()
	for o := range client.Offset(events) {
		if acked[o] != 1 {
			t.Errorf("event %d was acknowledged %d times", o, acked[o])
		}
	}
	if attempts.Load() < held {
		t.Errorf("%d events came again, though %d were lost", attempts.Load(), held)
	}
	settled(t, c, id, 0)
}

// Breaks anywhere cost no event, and what is known to be acknowledged does not come again.
func TestConsumersOverBreakingConnections(t *testing.T) {
	addr := hosttest.Server(t)
	solid := dial(t, addr)
	const events = 2000
	id := grouped(t, solid, "s", events, client.MaxAttempts(1<<31))
	ctx := untilSettled(t, solid, id)
	var mu sync.Mutex
	durable := map[client.Offset]bool{}
	seen := map[client.Offset]bool{}
	again := 0
	var group sync.WaitGroup
	for i, codec := range []client.Codec{none, client.LZ4, client.Zstd} {
		group.Go(func() {
			frail := &frailDialer{rng: rand.New(rand.NewPCG(6, uint64(i)))}
			var c *client.Client
			for err := errFrail; err != nil; {
				c, err = client.Dial(ctx, addr, client.WithDialer(frail.dial), client.WithCompression(codec))
			}
			defer c.Close()
			err := c.Handle(ctx, id, "g", func(ctx context.Context, d *client.Delivery) error {
				mu.Lock()
				if d.Attempt > 1 {
					again++
				}
				if seen[d.Offset] = true; durable[d.Offset] || string(d.Data) != fmt.Sprint(d.Offset) {
					t.Errorf("event %d, %q, attempt %d, came after it was acknowledged: %v", d.Offset, d.Data, d.Attempt, durable[d.Offset])
				}
				mu.Unlock()
				if d.Offset%3 > 0 {
					return nil
				}
				if d.AckWait(ctx) == nil {
					mu.Lock()
					durable[d.Offset] = true
					mu.Unlock()
				}
				return nil
			}, client.Window(50, 1<<20), client.Concurrency(4))
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if len(seen) != events || again == 0 {
		t.Errorf("%d events of %d came, %d of them again", len(seen), events, again)
	}
	settled(t, solid, id, 0)
}

// A consumer outlives a restart of the server. What was acknowledged before does not come again, the rest does.
func TestConsumerOutlivesServerRestart(t *testing.T) {
	dir := t.TempDir()
	addr, stop, err := hosttest.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, addr)
	id := grouped(t, c, "s", 10)
	var again []client.Offset
	var early []*client.Delivery
	var restarted *host.Host
	defer func() {
		if restarted != nil {
			restarted.Close()
		}
	}()
	for d, err := range c.Consume(within(t), id, "g") {
		if err != nil {
			t.Fatal(err)
		}
		if restarted == nil {
			if early = append(early, d); len(early) < 10 {
				continue
			}
			for _, d := range early[:5] {
				if err := d.AckWait(within(t)); err != nil {
					t.Error(err)
				}
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			cfg := host.DefaultConfig(dir)
			cfg.Listen, cfg.Admin, cfg.Log = addr, "", slog.New(slog.NewTextHandler(io.Discard, nil))
			if restarted, err = host.Start(cfg); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if len(again) == 0 {
			if err := early[5].AckWait(within(t)); !errors.Is(err, client.ErrStaleDelivery) {
				t.Errorf("a delivery of before: %v", err)
			}
		}
		if again = append(again, d.Offset); d.Attempt < 2 {
			t.Errorf("event %d comes as attempt %d", d.Offset, d.Attempt)
		}
		if d.Ack(); len(again) == 5 {
			break
		}
	}
	if slices.Sort(again); !slices.Equal(again, []client.Offset{5, 6, 7, 8, 9}) {
		t.Errorf("%v came again", again)
	}
	settled(t, c, id, 0)
}

// What fails is tried again, and parked in the end, or at once if it is hopeless. Parked events come again or are dropped.
func TestFailingEventsAreParked(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	id := grouped(t, c, "s", 6, client.MaxAttempts(3))
	var mu sync.Mutex
	var tried [6]int
	fails := true
	handle := func(ctx context.Context, d *client.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		tried[d.Offset]++
		switch {
		case d.Offset == 2 && fails:
			return &client.RetryAfter{Err: errors.New("it fails")}
		case d.Offset > 3 && fails:
			return client.ErrPark
		}
		return nil
	}
	consume := func() {
		if err := c.Handle(untilSettled(t, c, id), id, "g", handle); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	consume()
	settled(t, c, id, 3)
	if tried != [6]int{1, 1, 3, 1, 1, 1} {
		t.Errorf("tried %v", tried)
	}
	var parked []client.ParkedEvent
	for e, err := range c.ParkedEvents(within(t), id, "g") {
		if err != nil || time.Since(e.Since) > time.Minute {
			t.Fatal(e, err)
		}
		e.Since = time.Time{}
		parked = append(parked, e)
	}
	want := []client.ParkedEvent{{Offset: 2, Attempts: 3}, {Offset: 4, Attempts: 1, Asked: true}, {Offset: 5, Attempts: 1, Asked: true}}
	if !slices.Equal(parked, want) {
		t.Errorf("%+v", parked)
	}
	if n, err := c.DropParked(within(t), id, "g", 4, 3, 99); n != 1 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
	fails = false
	if n, err := c.ReplayParked(within(t), id, "g"); n != 2 || err != nil {
		t.Errorf("%d replayed, %v", n, err)
	}
	consume()
	settled(t, c, id, 0)
	if tried != [6]int{1, 1, 4, 1, 1, 2} {
		t.Errorf("tried %v", tried)
	}
}

// A group from its making to its deletion.
func TestLifeOfAGroup(t *testing.T) {
	c, ctx := dial(t, hosttest.Server(t)), within(t)
	id := stock(t, c, "s", 10)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(want client.Offset) func(client.Offset, error) {
		return func(got client.Offset, err error) {
			t.Helper()
			if got != want || err != nil {
				t.Errorf("at %d, %v, want %d", got, err, want)
			}
		}
	}
	at(10)(c.CreateGroup(ctx, id, "a", client.FromOffset(client.End), client.AckDeadline(time.Minute), client.OrderByJSON("/k")))
	at(4)(c.CreateGroup(ctx, id, "b", client.FromOffset(4)))
	at(0)(c.CreateGroup(ctx, id, "c", client.FromTime(time.Time{})))
	if _, err := c.CreateGroup(ctx, id, "A"); !errors.Is(err, client.ErrGroupExists) {
		t.Errorf("err = %v", err)
	}
	if _, err := c.GroupInfo(ctx, id, "d"); !errors.Is(err, client.ErrGroupNotFound) {
		t.Errorf("err = %v", err)
	}
	if err := end(c.Consume(ctx, id, "d")); !errors.Is(err, client.ErrGroupNotFound) {
		t.Errorf("err = %v", err)
	}
	must(c.SetGroup(ctx, id, "a", client.MaxAttempts(3), client.Unordered()))
	must(c.PauseGroup(ctx, id, "a"))
	at(2)(c.SeekGroup(ctx, id, "a", 2))
	at(10)(c.SeekGroupTime(ctx, id, "b", time.Now().Add(time.Hour)))
	g, err := c.GroupInfo(ctx, id, "A")
	must(err)
	want := client.GroupSettings{AckDeadline: time.Minute, MaxAttempts: 3, MaxAckPending: wire.DefaultMaxAckPending, LookAhead: wire.DefaultLookAhead}
	if g.Name != "a" || g.Settings != want || !g.Paused || g.Lag != 8 || g.Floor != 2 || time.Since(g.Created) > time.Minute || g.LagSince.IsZero() {
		t.Errorf("%+v", g)
	}
	var names []string
	for g, err := range c.Groups(ctx, id) {
		must(err)
		names = append(names, g.Name)
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("%v", names)
	}
	count := 0
	var last error
	for d, err := range c.Consume(ctx, id, "a", client.OnIdle(func() {
		switch count {
		case 0:
			must(c.ResumeGroup(ctx, id, "a"))
		case 8:
			must(c.DeleteGroup(ctx, id, "a"))
		}
	})) {
		if last = err; err == nil {
			count++
			d.Ack()
		}
	}
	if !errors.Is(last, client.ErrGroupNotFound) || count != 8 {
		t.Errorf("%d events, %v", count, last)
	}
}

// A group says why it does nothing.
func TestGroupExplainsItself(t *testing.T) {
	c, ctx := dial(t, hosttest.Server(t)), within(t)
	id := grouped(t, c, "s", 10, client.MaxAckPending(3))
	var got []*client.Delivery
	told := false
	for d, err := range c.Consume(ctx, id, "g", client.Window(100, 1<<20), client.OnIdle(func() {
		if len(got) < 3 || told {
			return
		}
		told = true
		x, err := c.ExplainGroup(ctx, id, "g")
		if err != nil || len(x.Reasons) == 0 || len(x.Members) != 1 || x.Members[0].Held != 3 || len(x.Held) != 3 || x.Held[0].Offset != 0 ||
			x.Held[0].Remaining > 30*time.Second || x.Pending != 3 {
			t.Errorf("%+v, %v", x, err)
		}
		got[0].Ack()
	})) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, d); len(got) == 4 {
			break
		}
	}
}

// Of an ordered group the events of one key are handled one after the other, whatever the concurrency.
func TestOrderedGroupKeepsEachKeysOrder(t *testing.T) {
	c, ctx := dial(t, hosttest.Server(t)), within(t)
	id := stock(t, c, "s", 0)
	var batch [][]byte
	for i := range 300 {
		batch = append(batch, fmt.Appendf(nil, `{"k":%d,"n":%d}`, i%7, i))
	}
	if _, err := c.Append(ctx, id, batch); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateGroup(ctx, id, "g", client.OrderByJSON("/k")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	next := [7]client.Offset{0, 1, 2, 3, 4, 5, 6}
	var busy [7]bool
	rng := rand.New(rand.NewPCG(7, 0))
	err := c.Handle(untilSettled(t, c, id), id, "g", func(_ context.Context, d *client.Delivery) error {
		key := d.Offset % 7
		mu.Lock()
		if busy[key] || d.Offset != next[key] {
			t.Errorf("event %d comes where %d is due, while another is dealt with: %v", d.Offset, next[key], busy[key])
		}
		busy[key] = true
		fails := rng.IntN(10) == 0
		mu.Unlock()
		time.Sleep(time.Duration(d.Offset%3) * 100 * time.Microsecond)
		mu.Lock()
		defer mu.Unlock()
		if busy[key] = false; fails {
			return &client.RetryAfter{}
		}
		next[key] += 7
		return nil
	}, client.Concurrency(8))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	settled(t, c, id, 0)
}
