package lint

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// parsed holds every package once, typed those that the rules about types apply to.
var (
	parsed = sync.OnceValues(func() ([]*Package, error) { return Parse("../..", "./...") })
	typed  = sync.OnceValues(func() ([]*Package, error) { return Load("../..", "./engine/...", "./wire/...", "./sim/...") })
)

// check runs rules over the packages of some folders, and fails where there are none.
func check(t *testing.T, packages func() ([]*Package, error), folders []string, rules ...func(*Package) []Finding) {
	t.Helper()
	watch(t)
	all, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, p := range all {
		if !slices.ContainsFunc(folders, func(f string) bool { return f == "" || Within(p.Path, f) }) || Within(p.Path, "engine/sql") {
			continue
		}
		checked++
		for _, rule := range rules {
			for _, f := range rule(p) {
				t.Error(f)
			}
		}
	}
	if checked < len(folders) {
		t.Errorf("only %d packages in %q", checked, folders)
	}
}

// watch looks at every folder. `go test` notes that, and so repeats a cached pass when a file has come or gone; what
// `go list` looks at it does not see.
func watch(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && strings.Trim(d.Name(), ".") != "" {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportsGoOneWay(t *testing.T) { check(t, parsed, []string{""}, Layering) }

func TestEngineAndWireAreDeterministic(t *testing.T) {
	check(t, typed, []string{"engine", "wire"}, Concurrency, MapRanges, ClockAndChance, Globals)
}

func TestSimulatorSeesNoMapOrder(t *testing.T) { check(t, typed, []string{"sim"}, MapRanges) }

func TestExportedIdentifiersAreDocumented(t *testing.T) {
	check(t, parsed, []string{"engine", "wire", "client", "io"}, ExportedDocs)
}

func TestPackagesAreDocumented(t *testing.T) { check(t, parsed, []string{""}, PackageDoc) }

// A module is named on the page by its path, or in brackets behind the module that needs it, by its last name.
func TestEveryModuleHasAReason(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/adr/0006-libraries.md")
	if err != nil {
		t.Fatal(err)
	}
	modules := regexp.MustCompile(`(?m)^\t(\S+) v`).FindAllSubmatch(mod, -1)
	if len(modules) == 0 {
		t.Fatal("go.mod names no modules")
	}
	for _, m := range modules {
		name := string(m[1])
		if major := path.Base(name); regexp.MustCompile(`^v[0-9]+$`).MatchString(major) {
			name = path.Dir(name)
		}
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(path.Base(name)) + `\b`).Match(page) {
			t.Errorf("docs/adr/0006-libraries.md does not say why %s is there", m[1])
		}
	}
}
