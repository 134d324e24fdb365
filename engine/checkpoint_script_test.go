package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/kimberlitedb/kimberlite-go/internal/script"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// checkpointBody returns the request about checkpoints that a command stands for.
func (p *play) checkpointBody(c *script.Command) wire.RequestBody {
	of := wire.TenantID(c.Int("of", c.Int("tenant", 1)))
	ref := wire.CheckpointRef{Label: c.Text("label", "")}
	switch c.Name {
	case "checkpoint":
		b := &wire.Checkpoint{Of: of}
		if c.Has("label") {
			b.Label = wire.Some(ref.Label)
		}
		return b
	case "checkpoints":
		return &wire.ListCheckpoints{Of: of}
	case "checkpoint-info":
		return &wire.GetCheckpoint{Of: of, Ref: ref, After: wire.StreamID(c.Int("after", 0)), Limit: uint32(c.Int("limit", 0))}
	}
	return &wire.DeleteCheckpoint{Of: of, Ref: ref}
}

func describeCheckpoints(body wire.ResponseBody) string {
	switch b := body.(type) {
	case *wire.CheckpointReply:
		return fmt.Sprintf(" Position:%d At:%s", b.Position, clock(b.Time))
	case *wire.ListCheckpointsReply:
		s := ""
		for i := range b.Checkpoints {
			s += describeCheckpoint(&b.Checkpoints[i])
		}
		return s
	case *wire.GetCheckpointReply:
		s := describeCheckpoint(&b.Info)
		if lines := strings.Split(b.Note, "\n"); len(lines) > 2 {
			s += fmt.Sprintf(" Note:%s with %s lines", lines[0], lines[1])
		}
		if b.Trouble != "" {
			s += fmt.Sprintf(" Trouble:%q", b.Trouble)
		}
		for _, x := range b.Streams {
			s += fmt.Sprintf(" %d:%s[%d,%d,%d) %dB", x.Stream, x.Name, x.Base, x.Oldest, x.Head, x.Bytes)
			if len(x.Root) > 0 {
				s += fmt.Sprintf(" %x", x.Root[:4])
			}
		}
		return s + fmt.Sprintf(" More:%t", b.More)
	case *wire.DeleteCheckpointReply:
		return fmt.Sprintf(" Position:%d", b.Position)
	}
	return ""
}

func describeCheckpoint(c *wire.CheckpointInfo) string {
	return fmt.Sprintf(" %q(position %d, %d bytes)", c.Label.Value, c.Position, c.Size)
}

// testKey is a key that everybody knows.
const testKey = "PRIVATE+KEY+kimberlite-test+48b7874a+ARdjSkOsuBF62+/8AwQ4cvzw8WkkGsfTeHDd7+wBKUR6"

// testSigner returns a signer whose key everybody knows.
func testSigner(t testing.TB) note.Signer {
	t.Helper()
	s, err := note.NewSigner(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
