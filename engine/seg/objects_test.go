package seg_test

import (
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

func TestNamesOfObjectsArePathsEverywhere(t *testing.T) {
	long := strings.Repeat("a", 128)
	for name, want := range map[string]bool{
		"a": true, "kimberlite-archive": true, "blobs/0a/0a1b": true, "a.b/c.d-": true, long: true, "-": true,
		strings.Repeat(long[:127]+"/", 3) + long: true,
		"":                                       false, "/": false, "/a": false, "a/": false, "a//b": false, ".": false, "..": false, "../a": false, "a/../b": false, "a/.b": false,
		".a": false, "A": false, "a_b": false, "a b": false, "a\\b": false, "a\x00": false, "ä": false, "a~": false, "a:b": false, long + "a": false,
		strings.Repeat(long[:127]+"/", 4) + "a": false,
	} {
		if err := seg.ObjectName(name); (err == nil) != want {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestPrefixesAreTheBeginningsOfNames(t *testing.T) {
	for prefix, want := range map[string]bool{
		"": true, "a": true, "a/": true, "a/b": true, "blobs/0a/": true, "/": false, "a//": false, "..": false, "../": false, "a/.": false, "A": false, "a*": false,
	} {
		if err := seg.ObjectPrefix(prefix); (err == nil) != want {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func TestObjectsHaveABound(t *testing.T) {
	if err := seg.CheckPut("a", seg.MaxObject); err != nil {
		t.Error(err)
	}
	if err := seg.CheckPut("a", seg.MaxObject+1); err == nil {
		t.Error("an object of more than the bound passes")
	}
}
