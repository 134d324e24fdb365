package client_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// read returns the data of a stream's events.
func read(t testing.TB, c *client.Client, s client.StreamID, from client.Offset, options ...client.ReadOption) (list []string) {
	t.Helper()
	for e, err := range c.Events(within(t), s, from, options...) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(e.Data))
	}
	return list
}

func TestAStreamIsReadAsOfACheckpoint(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	s, err := c.CreateStream(within(t), "orders")
	if err != nil {
		t.Fatal(err)
	}
	add := func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := c.Append(within(t), s, [][]byte{fmt.Appendf(nil, "%d", i)}, client.Timestamps(time.Unix(int64(i), 0))); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, 10)
	cp, err := c.Checkpoint(within(t), "Q4")
	if err != nil {
		t.Fatal(err)
	}
	add(10, 20)
	at := client.AsOf(cp.Position)
	for _, test := range []struct{ got, want any }{
		{len(read(t, c, s, 0, at)), 10},
		{read(t, c, s, 8, at), []string{"8", "9"}},
		{read(t, c, s, client.End, at, client.Backward(), client.MaxEvents(2)), []string{"9", "8"}},
		{read(t, c, s, 0, at, client.Since(time.Unix(8, 0))), []string{"8", "9"}},
		{len(read(t, c, s, 15, at)), 0},
		{len(read(t, c, s, 0, client.AsOf(0))), 0},
		{len(read(t, c, s, 0)), 20},
	} {
		if fmt.Sprint(test.got) != fmt.Sprint(test.want) {
			t.Errorf("got %v, want %v", test.got, test.want)
		}
	}
	page, err := c.Read(within(t), s, 0, at, client.MaxEvents(3))
	if err != nil || page.Head != 10 || !page.More || page.Next != 3 {
		t.Errorf("%+v, %v", page, err)
	}
	if _, err := c.Read(within(t), s, 0, client.AsOf(1000)); !errors.Is(err, client.ErrPositionAhead) {
		t.Errorf("as of a position ahead: %v", err)
	}
	if _, err := c.Read(within(t), s, 0, at, client.Last(1)); !errors.Is(err, client.ErrInvalidRequest) {
		t.Errorf("the last as of a position: %v", err)
	}
}

func TestCheckpointsAreListedShownAndDeleted(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	if _, err := c.Checkpoint(within(t), "early"); !errors.Is(err, client.ErrTenantNotFound) {
		t.Errorf("of a tenant that there is not: %v", err)
	}
	for i := range 1200 {
		if _, err := c.CreateStream(within(t), fmt.Sprintf("stream-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	cut, err := c.Checkpoint(within(t), "Q4")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Checkpoint(within(t), "q4"); !errors.Is(err, client.ErrCheckpointExists) {
		t.Errorf("under a label that is taken: %v", err)
	}
	if _, err := c.Checkpoint(within(t), strings.Repeat("x", wire.MaxName+1)); !errors.Is(err, client.ErrInvalidRequest) {
		t.Errorf("under a label that is too long: %v", err)
	}
	if _, err := c.Checkpoint(within(t), ""); err != nil {
		t.Fatal(err)
	}
	list, err := c.Checkpoints(within(t))
	if err != nil || len(list) != 2 || list[0].ID != cut.ID || list[0].Label != "Q4" || list[1].Label != "" || list[0].Size == 0 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, name := range []string{"Q4", "q4", cut.ID.String()} {
		if d, err := c.CheckpointInfo(within(t), name); err != nil || d.ID != cut.ID || d.Position != cut.Position {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	n := 0
	for s, err := range c.CheckpointStreams(within(t), "Q4") {
		if err != nil {
			t.Fatal(err)
		}
		if n++; s.Name == "" || n < 1201 && s.Name != fmt.Sprintf("stream-%d", n-1) {
			t.Fatalf("stream %d is %q", n, s.Name)
		}
	}
	if n != 1201 {
		t.Errorf("%d streams", n)
	}
	if err := c.ArchiveCheckpoint(within(t), "Q4", "/somewhere"); !errors.Is(err, client.ErrPermissionDenied) {
		t.Errorf("to a place that is not allowed: %v", err)
	}
	if err := c.DeleteCheckpoint(within(t), "Q4"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		c.DeleteCheckpoint(within(t), "Q4"), c.ArchiveCheckpoint(within(t), "Q4", "/somewhere"), second(c.CheckpointInfo(within(t), cut.ID.String())),
	} {
		if !errors.Is(err, client.ErrCheckpointNotFound) {
			t.Errorf("of a checkpoint that there is not any more: %v", err)
		}
	}
	if _, err := c.Checkpoint(within(t), "Q4"); err != nil {
		t.Errorf("under a label that is free again: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
