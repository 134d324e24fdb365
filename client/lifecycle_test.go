package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A stream from its making to its undeletion, with a hold in between, and the audit stream that tells of it.
func TestLifeOfAStream(t *testing.T) {
	addr := hosttest.Server(t)
	c := dial(t, addr)
	ctx := within(t)
	id, err := c.CreateStream(ctx, "orders", client.WithRetention(30))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(ctx, id, [][]byte{[]byte("x")}); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.SetHold(ctx, id, "case-17", "Smith v. Jones"))
	if _, err := c.DeleteStream(ctx, id); !errors.Is(err, client.ErrHeld) || !strings.Contains(err.Error(), "case-17") {
		t.Errorf("delete: %v", err)
	}
	must(c.ReleaseHold(ctx, id, "case-17"))
	must(c.SetRetention(ctx, id, 90, client.MinDays(60)))
	if err := c.SetRetention(ctx, id, 59); !errors.Is(err, client.ErrInvalidRequest) {
		t.Errorf("retain: %v", err)
	}
	gone, err := c.DeleteStream(ctx, id, client.PurgeAfter(1))
	must(err)
	if d := time.Until(gone.PurgeDate) - 60*24*time.Hour; d < -time.Minute || d > time.Minute {
		t.Errorf("purge date is %v", gone.PurgeDate)
	}
	if _, err := c.Read(ctx, id, 0); !errors.Is(err, client.ErrStreamDeleted) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Append(ctx, id, [][]byte{nil}); !errors.Is(err, client.ErrStreamDeleted) {
		t.Errorf("append: %v", err)
	}
	again, err := c.DeleteStream(ctx, id)
	if err != nil || !again.PurgeDate.Equal(gone.PurgeDate) {
		t.Errorf("again: %+v, %v", again, err)
	}
	s, err := c.StreamByName(ctx, "orders")
	if err != nil || !s.Deleted || !s.PurgeDate.Equal(gone.PurgeDate) || s.RetentionDays != 90 || s.MinRetentionDays != 60 || len(s.Holds) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, want := range []bool{true, false} {
		if restored, err := c.UndeleteStream(ctx, id); err != nil || restored != want {
			t.Errorf("undelete: %v, %v", restored, err)
		}
	}
	if page, err := c.Read(ctx, id, 0); err != nil || len(page.Events) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
	var acts []string
	for e, err := range c.AuditEvents(ctx, 0) {
		must(err)
		acts = append(acts, e.Act)
	}
	want := []string{"tenant.create", "stream.create", "hold.set", "hold.release", "stream.retain", "stream.delete", "stream.undelete"}
	if !slices.Equal(acts, want) {
		t.Errorf("acts are %v", acts)
	}
	ours, err := c.CheckAudit(ctx)
	theirs, err2 := c.VerifyAudit(ctx)
	if err != nil || err2 != nil || ours.Break.Set || ours.Events != uint64(len(want)) || !bytes.Equal(ours.Hash, theirs.Hash) {
		t.Errorf("%+v, %+v, %v, %v", ours, theirs, err, err2)
	}
}

func TestAuditStreamIsTheServersAlone(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	ctx := within(t)
	if _, err := c.CreateStream(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	audit, err := c.StreamByName(ctx, client.AuditStream)
	if err != nil {
		t.Fatal(err)
	}
	_, appended := c.Append(ctx, audit.ID, [][]byte{nil})
	_, deleted := c.DeleteStream(ctx, audit.ID)
	for _, err := range []error{appended, deleted, c.SetRetention(ctx, audit.ID, 1), c.SetHold(ctx, audit.ID, "a", "")} {
		if !errors.Is(err, client.ErrPermissionDenied) {
			t.Errorf("err = %v", err)
		}
	}
	names := func(options ...client.ListOption) (list []string) {
		for s, err := range c.Streams(ctx, options...) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, s.Name)
		}
		return list
	}
	if got := fmt.Sprint(names(), names(client.WithPrefix("S")), names(client.OnlyDeleted())); got != "[s] [s] []" {
		t.Error(got)
	}
	if got := names(client.WithSystem()); !slices.Contains(got, client.AuditStream) || len(got) != 2 {
		t.Error(got)
	}
}

// What has expired is not read, and a purge is the end of a stream but not of its name.
func TestRetentionAndPurgeTakeEffect(t *testing.T) {
	cfg := host.DefaultConfig(t.TempDir())
	cfg.Listen, cfg.Admin, cfg.Engine.Dev, cfg.Log = "127.0.0.1:0", "", true, slog.New(slog.DiscardHandler)
	h, err := host.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	c := dial(t, h.Addr())
	ctx := within(t)
	id, err := c.CreateStream(ctx, "s", client.WithRetention(30))
	if err != nil {
		t.Fatal(err)
	}
	old, young := time.Now().Add(-31*24*time.Hour), time.Now()
	if _, err := c.Append(ctx, id, [][]byte{[]byte("old"), []byte("old"), []byte("young")}, client.Timestamps(old, old, young)); err != nil {
		t.Fatal(err)
	}
	page, err := c.Read(ctx, id, 0)
	if err != nil || page.Oldest != 2 || len(page.Events) != 1 || string(page.Events[0].Data) != "young" {
		t.Fatalf("%+v, %v", page, err)
	}
	if _, err := c.DeleteStream(ctx, id, client.PurgeAfter(0)); err != nil {
		t.Fatal(err)
	}
	for !errors.Is(err, client.ErrStreamNotFound) {
		if _, err = c.StreamInfo(ctx, id); err != nil && !errors.Is(err, client.ErrStreamNotFound) {
			t.Fatal(err)
		}
	}
	if next, err := c.CreateStream(ctx, "s"); err != nil || next == id {
		t.Errorf("stream %d after %d, %v", next, id, err)
	}
}

func TestReadsFromATimeAndBackwardOnAServer(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	ctx := within(t)
	id, err := c.CreateStream(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1_700_000_000, 0)
	for batch := range 30 {
		var events [][]byte
		var times []time.Time
		for i := range 100 {
			n := batch*100 + i
			events, times = append(events, fmt.Append(nil, n)), append(times, start.Add(time.Duration(n)*time.Second))
		}
		if _, err := c.Append(ctx, id, events, client.Timestamps(times...)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(from client.Offset, options ...client.ReadOption) (list []int) {
		for e, err := range c.Events(ctx, id, from, options...) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, int(e.Offset))
		}
		return list
	}
	ends := func(list []int) string {
		if len(list) == 0 {
			return "none"
		}
		return fmt.Sprintf("%d to %d", list[0], list[len(list)-1])
	}
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	for _, c := range []struct {
		got  []int
		want string
	}{
		{read(0, client.Last(10)), "2990 to 2999"},
		{read(0, client.Since(at(1234))), "1234 to 2999"},
		{read(0, client.Since(at(1234).Add(1))), "1235 to 2999"},
		{read(0, client.Since(at(100)), client.Until(at(200))), "100 to 199"},
		{read(0, client.Since(at(5000))), "none"},
		{read(client.End, client.Backward()), "2999 to 0"},
		{read(5, client.Backward()), "5 to 0"},
		{read(client.End, client.Backward(), client.Until(at(1000)), client.MaxEvents(10)), "999 to 990"},
		{read(client.End, client.Backward(), client.Until(at(0))), "none"},
	} {
		if got := ends(c.got); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestClockIsTold(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	k, err := c.Clock(within(t))
	if err != nil || !k.Trusted || time.Since(k.Now).Abs() > time.Minute || time.Since(k.Wall).Abs() > time.Minute {
		t.Errorf("%+v, %v", k, err)
	}
	if now, err := c.ConfirmClock(within(t), k.Wall); err != nil || now.Before(k.Now) {
		t.Errorf("%v, %v", now, err)
	}
}

// The corners of the specification that a client author would ask about.
func TestCornersOfTheLifeOfAStream(t *testing.T) {
	addr := hosttest.Server(t)
	c := dial(t, addr)
	ctx := within(t)
	id, err := c.CreateStream(ctx, "s", client.WithRetention(1))
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-48 * time.Hour)
	if _, err := c.Append(ctx, id, [][]byte{[]byte("a"), []byte("b"), []byte("c")}, client.Timestamps(long, long, time.Now())); err != nil {
		t.Fatal(err)
	}
	page, err := c.Read(ctx, id, 1, client.Backward())
	if err != nil || len(page.Events) != 0 || page.More || page.Oldest != 2 {
		t.Errorf("backward below the oldest: %+v, %v", page, err)
	}
	page, err = c.Read(ctx, id, client.End, client.Backward())
	if err != nil || len(page.Events) != 1 || page.More {
		t.Errorf("backward to the oldest: %+v, %v", page, err)
	}
	if _, err := c.DeleteStream(ctx, id, client.PurgeAfter(1)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetHold(ctx, id, "Case", ""); err != nil {
		t.Errorf("a deleted stream is held: %v", err)
	}
	if err := c.SetRetention(ctx, id, 2); !errors.Is(err, client.ErrStreamDeleted) {
		t.Errorf("a deleted stream is retained: %v", err)
	}
	if _, err := c.CreateStream(ctx, "S"); !errors.Is(err, client.ErrStreamExists) {
		t.Errorf("its name is taken: %v", err)
	}
	if _, err := c.DeleteStream(ctx, id); err != nil {
		t.Errorf("it is deleted already, hold or not: %v", err)
	}
	if err := c.ReleaseHold(ctx, id, "cASE"); err != nil {
		t.Errorf("case matters: %v", err)
	}
	if err := c.ReleaseHold(ctx, id, "case"); !errors.Is(err, client.ErrInvalidRequest) {
		t.Errorf("released twice: %v", err)
	}
	nobody := dial(t, addr, client.WithTenant(99))
	if _, err := nobody.VerifyAudit(ctx); !errors.Is(err, client.ErrTenantNotFound) {
		t.Errorf("audit of nobody: %v", err)
	}
	if _, err := nobody.Clock(ctx); err != nil {
		t.Errorf("the clock needs a tenant: %v", err)
	}
	if _, err := nobody.UndeleteStream(ctx, id); errors.Is(err, client.ErrStreamDeleted) || err == nil {
		t.Errorf("the stream of another tenant: %v", err)
	}
}

// Without rich events nobody sees offsets, so that a read below the oldest event is refused and not moved.
func TestPlainReadBelowTheOldestIsRefused(t *testing.T) {
	addr := hosttest.Server(t)
	c := dial(t, addr)
	ctx := within(t)
	id, err := c.CreateStream(ctx, "s", client.WithRetention(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(ctx, id, [][]byte{nil, nil}, client.Timestamps(time.Now().Add(-48*time.Hour), time.Now())); err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := func(from wire.Offset) wire.ResponseBody {
		body := &wire.ReadEvents{Stream: id, FromOffset: from, MaxBytes: 10}
		if _, err := nc.Write(wire.AppendRequest(nil, &wire.Request{Tenant: 1, Body: body}, wire.Features{})); err != nil {
			t.Fatal(err)
		}
		s, buf := wire.NewClientSession(wire.Alone()), make([]byte, 1<<10)
		for {
			n, err := nc.Read(buf)
			replies, fault := s.Feed(buf[:n], nil)
			if err != nil || fault != nil {
				t.Fatal(err, fault)
			}
			if len(replies) > 0 {
				return replies[0].(*wire.Response).Body
			}
		}
	}
	if e, ok := ask(0).(*wire.Error); !ok || e.Code != wire.InvalidOffset || !strings.Contains(e.Message, "1") {
		t.Errorf("%+v", e)
	}
	if r, ok := ask(1).(*wire.ReadEventsReply); !ok || r.Events.Count != 1 || r.OldestOffset != 1 {
		t.Errorf("%+v", r)
	}
}
