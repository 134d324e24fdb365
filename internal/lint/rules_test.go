package lint

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// breaches is one snippet for each way to break a rule, and one beside it that keeps it. A finding is named by a part
// of its text; none means that the snippet is fine.
var breaches = []struct {
	name string
	rule func(*Package) []Finding
	path string // where the snippet lies
	text string
	want string
}{
	{"a go statement", Concurrency, "engine", `func f() { go f() }`, "go statement"},
	{"a select", Concurrency, "engine", `func f() { select {} }`, "select statement"},
	{"a channel type", Concurrency, "engine", `var c chan int`, "channel type"},
	{"a channel made", Concurrency, "engine", `func f() { _ = make(chan int) }`, "channel type"},
	{"a send", Concurrency, "engine", `func f[C ~chan int](c C) { c <- 1 }`, "send"},
	{"a receive", Concurrency, "engine", `func f[C ~chan int](c C) { <-c }`, "receive"},
	{"a range over a channel", Concurrency, "engine", `import "time"; func f(t *time.Timer) { for range t.C {} }`, "range over a channel"},
	{"a plain loop", Concurrency, "engine", `func f(p []int) { for range p {} }`, ""},

	{"a range over a map", MapRanges, "engine", `func f(m map[int]int) { for range m {} }`, "walk over a map"},
	{"a range over a named map", MapRanges, "engine", `type set map[int]bool; func f(m set) { for k := range m { _ = k } }`, "walk over a map"},
	{"an iterator over a map", MapRanges, "engine", `import "maps"; func f(m map[int]int) { for range maps.Keys(m) {} }`, "walk over a map"},
	{"keys sorted at once", MapRanges, "engine", `import ("maps"; "slices"); func f(m map[int]int) []int { return slices.Sorted(maps.Keys(m)) }`, ""},
	{"values sorted by a part", MapRanges, "engine", `import ("maps"; "slices"); func f(m map[int]int) []int { return slices.SortedFunc(maps.Values(m), func(a, b int) int { return 0 }) }`, "walk over a map"},
	{"a reason on the line", MapRanges, "engine", "func f(m map[int]int) {\nfor range m { //det:order-free: counts\n}\n}", ""},
	{"a reason on the line before", MapRanges, "engine", "func f(m map[int]int) {\n//det:order-free: counts\nfor range m {\n}\n}", ""},
	{"a reason two lines before", MapRanges, "engine", "func f(m map[int]int) {\n//det:order-free: counts\n\nfor range m {\n}\n}", "walk over a map"},
	{"no reason given", MapRanges, "engine", "func f(m map[int]int) {\nfor range m { //det:order-free:\n}\n}", "walk over a map"},
	{"a range over a slice", MapRanges, "engine", `func f(p []int) { for range p {} }`, ""},

	{"the time of day", ClockAndChance, "engine", `import "time"; var _ = time.Now()`, "time.Now"},
	{"the time of day as a value", ClockAndChance, "engine", `import "time"; var now = time.Now`, "time.Now"},
	{"time since", ClockAndChance, "engine", `import "time"; func f(t time.Time) any { return time.Since(t) }`, "time.Since"},
	{"a calendar date", ClockAndChance, "engine", `import "time"; var _ = time.Unix(0, 0).After(time.Unix(1, 0))`, ""},
	{"a number from nowhere", ClockAndChance, "engine", `import "math/rand/v2"; var _ = rand.IntN(6)`, "rand/v2.IntN"},
	{"a number from the old package", ClockAndChance, "engine", `import "math/rand"; var _ = rand.Int()`, "rand.Int"},
	{"a seeded generator", ClockAndChance, "engine", `import "math/rand/v2"; func f(s [32]byte) uint64 { return rand.NewChaCha8(s).Uint64() }`, ""},

	{"an assignment to a global", Globals, "engine", `var n int; func f() { n = 1 }`, "variable n"},
	{"an increment of a global", Globals, "engine", `var n int; func f() { n++ }`, "variable n"},
	{"an element of a global", Globals, "engine", `var table [3]struct{ n int }; func f() { table[1].n = 2 }`, "variable table"},
	{"a key of a global map", Globals, "engine", `var m = map[int]int{}; func f() { delete(m, 1) }`, "variable m"},
	{"a global behind a pointer", Globals, "engine", `var p = new(int); func f() { *p = 1 }`, "variable p"},
	{"a loop into a global", Globals, "engine", `var n int; func f() { for n = range 3 {} }`, "variable n"},
	{"another package's global", Globals, "engine", `import "io"; func f() { io.EOF = nil }`, "variable EOF"},
	{"an init function", Globals, "engine", `func init() {}`, "init function"},
	{"a sentinel and a local of its name", Globals, "engine", `var n = 1; func f() int { m := n; n := 2; n++; return m + n }`, ""},

	{"an import of the system", Layering, "engine/seg", `import _ "os"`, "imports os"},
	{"an import of locks", Layering, "wire", `import _ "sync"`, "imports sync"},
	{"an import of the network", Layering, "engine/loop", `import _ "net"`, "imports net"},
	{"an import of formatting", Layering, "engine", `import _ "fmt"`, ""},
	{"SQL may import what it needs", Layering, "engine/sql", `import _ "sync"`, ""},

	{"a package without a comment", PackageDoc, "cmd/x", ``, "without a comment"},
	{"a function without a comment", ExportedDocs, "wire", `func F() {}`, "F has no comment"},
	{"a method without a comment", ExportedDocs, "wire", `type t int; type T int; func (*T) F() {}`, "F has no comment"},
	{"a type without a comment", ExportedDocs, "wire", `type T int`, "type T"},
	{"a constant without a comment", ExportedDocs, "wire", `const C = 1`, "C has no comment"},
	{"a variable in a group without one", ExportedDocs, "wire", "var (\n// A does.\nA int\nB int\n)", "B has no comment"},
	{"a group with a comment", ExportedDocs, "wire", "// The numbers.\nconst (\nA = 1\nB = 2\n)", ""},
	{"a method that an interface promises", ExportedDocs, "wire", "// I does.\ntype I interface{ F() }\n// T does.\ntype T int\nfunc (T) F() {}", ""},
	{"what nobody outside can name", ExportedDocs, "wire", `type t int; func (t) F() {}; func f() {}`, ""},
}

func TestRulesFindWhatBreaksThem(t *testing.T) {
	fset := token.NewFileSet()
	std := importer.ForCompiler(fset, "source", nil)
	for _, c := range breaches {
		t.Run(c.name, func(t *testing.T) {
			f, err := parser.ParseFile(fset, "snippet.go", "package x\n"+c.text, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			p := &Package{Path: c.path, Fset: fset, Files: []*ast.File{f}}
			for _, spec := range f.Imports {
				p.Imports = append(p.Imports, strings.Trim(spec.Path.Value, `"`))
			}
			if err := p.check(std); err != nil {
				t.Fatal(err)
			}
			found := c.rule(p)
			named := slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.What, c.want) })
			if fine := len(found) == 0; fine != (c.want == "") || !fine && !named {
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}

// TestLayersHoldThroughOthers gives packages made by hand, since a snippet cannot import the module.
func TestLayersHoldThroughOthers(t *testing.T) {
	for _, c := range []struct {
		path, imports string
		deps          []string // beside what it imports
		want          bool     // whether that is a breach
	}{
		{"wire", "engine", nil, true},
		{"wire", "wire/v2", nil, false},
		{"engine", "wire", nil, false},
		{"engine", "engine/seg", nil, false},
		{"engine/seg", "io/disk", nil, true},
		{"engine", "sim", nil, true},
		{"client", "wire", nil, false},
		{"client", "engine", nil, true},
		{"client", "wire", []string{"engine/seg"}, true},
		{"sim/world", "engine/loop", nil, false},
		{"sim/disk", "io/disk", nil, true},
		{"sim/client", "client", nil, true},
		{"sim/client", "internal/bench", []string{"client"}, true},
		{"io/tcp", "engine", nil, false},
		{"io/tcp", "io/disk", nil, true},
		{"io/tcp", "io/host", nil, true},
		{"io/tcp", "io/tcp/epoll", nil, false},
		{"io/host", "io/tcp", nil, false},
		{"io/host", "client", nil, true},
		{"cmd/kimberlite", "io/host", []string{"io/tcp", "io/disk"}, false},
		{"cmd/kimberlite", "io/tcp", nil, true},
		{"cmd/kimberlite", "sim", nil, true},
		{"internal/bench", "io/disk", nil, true},
	} {
		p := &Package{Path: c.path, Imports: []string{Module + "/" + c.imports}, Deps: []string{"fmt", Module + "/" + c.imports}}
		for _, d := range c.deps {
			p.Deps = append(p.Deps, Module+"/"+d)
		}
		if found := Layering(p); (len(found) > 0) != c.want {
			t.Errorf("%s imports %s %v: found %v", c.path, c.imports, c.deps, found)
		}
	}
}
