package lint

import (
	"slices"
	"strings"
)

// layer says what a folder of the module may import.
type layer struct {
	folder string
	ours   []string // folders of the module that it may reach, directly or through others
	std    []string // standard packages and libraries that it may import itself; nil for any
}

// pure is what the deterministic packages may import: nothing here reads a clock, starts a goroutine, opens a file or
// draws a random number that the caller has not seeded. A folder with a slash at its end stands for all below it.
var pure = []string{
	"bytes", "cmp", "container/heap", "crypto/sha256", "encoding/base64", "encoding/binary", "encoding/hex", "encoding/json", "errors", "fmt",
	"hash/crc32", "iter", "maps", "math", "math/bits", "math/rand/v2", "slices", "sort", "strconv", "strings", "time", "unicode",
	"unicode/utf8",
	"github.com/klauspost/compress/", "github.com/pierrec/lz4/v4", "github.com/tidwall/btree",
}

// proving is what the proofs of checkpoints may import beside: keys come from a file, so that signing is a function of what is signed.
var proving = append(slices.Clip(pure), "crypto/ed25519", "github.com/transparency-dev/merkle/", "golang.org/x/mod/sumdb/note")

// layers lists the folders, lowest first. One that is not listed may import anything but drivers.
var layers = []layer{
	{"wire", []string{"wire"}, pure},
	{"engine/sql", []string{"engine", "wire"}, nil},
	{"engine/proof", []string{"engine", "wire"}, proving},
	{"engine", []string{"engine", "wire"}, pure},
	{"client", []string{"client", "wire"}, nil},
	{"sim", []string{"sim", "engine", "wire"}, nil},
	{"io/host", []string{"io", "engine", "wire"}, nil},
	{"io", []string{"engine", "wire"}, nil}, // and itself: see own
	{"cmd", []string{"cmd", "client", "io", "engine", "wire", "internal"}, nil},
}

// Layering says what a package imports, itself or through others, that its layer must not. Drivers may not reach each
// other except through io/host, and from outside io nobody names a driver.
func Layering(p *Package) []Finding {
	l := layerOf(p.Path)
	var found []Finding
	breach := func(path, why string) {
		found = append(found, Finding{p.Path, "imports " + path + ": " + why})
	}
	for _, path := range p.Deps {
		if folder, ours := relative(path); ours && !l.reaches(folder) && !Within(folder, own(p.Path)) {
			breach(path, l.folder+" must not reach it, directly or through others")
		}
	}
	for _, path := range p.Imports {
		folder, ours := relative(path)
		if !ours && l.std != nil && !slices.ContainsFunc(l.std, func(s string) bool {
			return path == s || strings.HasSuffix(s, "/") && strings.HasPrefix(path, s)
		}) {
			breach(path, "it is not on the list of deterministic packages")
		}
		if ours && Within(folder, "io") && !Within(folder, "io/host") && !Within(p.Path, "io") {
			breach(path, "drivers are reached through io/host")
		}
	}
	return found
}

// layerOf returns the layer of a folder, one that may import anything where none is listed.
func layerOf(path string) layer {
	for _, l := range layers {
		if Within(path, l.folder) {
			return l
		}
	}
	return layer{folder: path, ours: []string{"wire", "engine", "client", "sim", "io", "cmd", "internal"}}
}

func (l layer) reaches(folder string) bool {
	return slices.ContainsFunc(l.ours, func(o string) bool { return Within(folder, o) })
}

// own returns the folder that belongs to a package alone: a driver's own parts.
func own(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// relative returns an import path of this module relative to it.
func relative(path string) (string, bool) { return strings.CutPrefix(path, Module+"/") }
