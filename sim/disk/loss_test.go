package disk_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"pgregory.net/rapid"
)

// image draws a directory as a line: names, with each run of equal bytes as its first byte and length.
func image(d *disk.Disk) string {
	fs, line := d.Mount(), ""
	names, _ := fs.List()
	for _, name := range names {
		f, err := fs.Open(name)
		if err != nil {
			panic(err)
		}
		n, _ := f.Size()
		p := make([]byte, n)
		f.ReadAt(p, 0)
		f.Close()
		line += name + "("
		for len(p) > 0 {
			run := 1
			for run < len(p) && p[run] == p[0] {
				run++
			}
			line += fmt.Sprintf("%d*%d ", run, p[0])
			p = p[run:]
		}
		line += ")"
	}
	return line
}

// run writes, renames and so on, one letter of a script at a time.
func run(t *testing.T, d *disk.Disk, script string) {
	t.Helper()
	fs := d.Mount()
	open := map[byte]seg.File{}
	for _, step := range bytes.Fields([]byte(script)) {
		var err error
		switch kind := step[0]; kind {
		case 'c': // ca: create a
			open[step[1]], err = fs.Create(string(step[1]))
		case 'w': // wa13: write unit 1 of a full of 3
			_, err = open[step[1]].WriteAt(bytes.Repeat([]byte{step[3] - '0'}, 512), int64(step[2]-'0')*512)
		case 's': // sa: sync a
			err = open[step[1]].Sync()
		case 'd': // sync the directory
			err = fs.SyncDir()
		case 'm': // mab: rename a to b
			err = fs.Rename(string(step[1]), string(step[2]))
			open[step[2]] = open[step[1]]
		case 'r': // ra: remove a
			err = fs.Remove(string(step[1]))
		default:
			t.Fatalf("unknown step %q", step)
		}
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
}

// Everything that a loss of power may leave happens, and nothing else.
func TestWhatALossOfPowerLeaves(t *testing.T) {
	for _, c := range []struct {
		name, script string
		how          disk.Loss
		want         []string
	}{
		{"all or nothing", "ca wa01 sa d wa02 wa12", disk.Loss{}, []string{"a(512*1 )", "a(1024*2 )"}},
		{"growth", "ca sa d wa01 wa12", disk.Loss{Torn: true}, []string{
			"a()", "a(512*0 )", "a(512*1 )", // cut
			"a(512*1 512*2 )", "a(512*0 512*2 )", "a(512*1 512*0 )", "a(1024*0 )", // whole, with holes
		}},
		{"overwritten sectors", "ca wa01 wa12 sa d wa03 wa14", disk.Loss{Torn: true}, []string{
			"a(512*1 512*2 )", "a(512*1 512*4 )", "a(512*3 512*2 )", "a(512*3 512*4 )",
		}},
		{"content without its name", "ca wa01 sa", disk.Loss{Torn: true}, []string{"", "a(512*1 )"}},
		{"name without its content", "ca wa01 d", disk.Loss{}, []string{"a()", "a(512*1 )"}},
		{"replace", "ca wa01 sa cb wb02 sb d mab", disk.Loss{}, []string{"a(512*1 )b(512*2 )", "b(512*1 )"}},
		{"remove", "ca wa01 sa d ra", disk.Loss{}, []string{"", "a(512*1 )"}},
		{"names in order", "ca cb cc", disk.Loss{}, []string{"", "a()", "a()b()", "a()b()c()"}},
		{"names in any order", "ca cb cc", disk.Loss{Unordered: true}, []string{
			"", "a()", "b()", "c()", "a()b()", "a()c()", "b()c()", "a()b()c()",
		}},
		{"a file never has two names", "ca d mab mbc", disk.Loss{Unordered: true}, []string{"a()", "b()", "c()"}},
		{"a name never has two files", "ca wa01 sa d mab ca", disk.Loss{Unordered: true}, []string{
			"a(512*1 )", "b(512*1 )", "a()b(512*1 )",
		}},
		{"replaced before it was safe", "ca wa01 cb wb02 sb mba", disk.Loss{}, []string{
			"", "a()", "a(512*1 )", "a()b(512*2 )", "a(512*1 )b(512*2 )", "a(512*2 )",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := map[string]bool{}
			for seed := range 400 {
				d := disk.New(512)
				run(t, d, c.script)
				d.PowerLoss(rng.Source(seed).Stream("x"), c.how)
				seen[image(d)] = true
			}
			for left := range seen {
				if !slices.Contains(c.want, left) {
					t.Errorf("left %q", left)
				}
			}
			for _, left := range c.want {
				if !seen[left] {
					t.Errorf("never left %q", left)
				}
			}
		})
	}
}

// What a loss of power leaves is durable, and what it leaves is a function of the seed.
func TestLossIsFinalAndRepeats(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		seed := rng.Source(rapid.Uint64().Draw(r, "seed"))
		how := disk.Loss{
			Torn: rapid.Bool().Draw(r, "torn"), Garbage: rapid.Bool().Draw(r, "garbage"), Unordered: rapid.Bool().Draw(r, "unordered"),
		}
		steps := rapid.SliceOfN(rapid.Uint32(), 1, 60).Draw(r, "steps")
		one, two := disk.New(512), disk.New(512)
		for _, d := range []*disk.Disk{one, two} {
			scramble(d, steps)
			d.PowerLoss(seed.Stream("x"), how)
		}
		left := image(one)
		if again := image(two); again != left {
			r.Fatalf("one seed left two disks:\n%s\n%s", left, again)
		}
		if one.Used() != one.Clone().Used() {
			r.Fatalf("%d bytes used, %d in files", one.Used(), one.Clone().Used())
		}
		for next := range uint64(4) {
			one.PowerLoss(rng.Source(next).Stream("y"), disk.Loss{Torn: true, Garbage: true, Unordered: true})
			if again := image(one); again != left {
				r.Fatalf("a second loss changed the disk:\n%s\n%s", left, again)
			}
		}
	})
}

// scramble does one operation for each number. Those that fail do no harm.
func scramble(d *disk.Disk, steps []uint32) {
	fs := d.Mount()
	fail := false
	d.Hook = func(op disk.Op) disk.Verdict {
		if fail && op.Kind == disk.OpSync {
			return disk.Verdict{Err: fmt.Errorf("broken")}
		}
		return disk.Verdict{}
	}
	for _, step := range steps {
		name, other := string(rune('a'+step>>4%3)), string(rune('a'+step>>6%3))
		fail = step>>8%4 == 0
		var f seg.File
		switch step % 8 {
		case 0:
			f, _ = fs.Create(name)
		case 1:
			fs.Rename(name, other)
		case 2:
			fs.Remove(name)
		case 3:
			fs.SyncDir()
		case 4:
			if f, _ = fs.Open(name); f != nil {
				f.Sync()
			}
		default:
			if f, _ = fs.Open(name); f != nil {
				f.WriteAt(bytes.Repeat([]byte{byte(step >> 10)}, int(step>>18%1500)), int64(step>>12%2000))
			}
		}
		if f != nil && step>>9%2 == 0 {
			f.Close()
		}
	}
}
