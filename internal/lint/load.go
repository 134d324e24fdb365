package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// listed is what `go list` tells of a package.
type listed struct {
	Dir        string
	ImportPath string
	Export     string
	GoFiles    []string
	Imports    []string
	Deps       []string
	Error      *struct{ Err string }
}

// Parse lists the module's packages that match the patterns, seen from a folder, and parses them. Their types stay
// unknown, so that only rules that need none apply.
func Parse(dir string, patterns ...string) ([]*Package, error) {
	all, err := list(dir, patterns, "-deps=false")
	if err != nil {
		return nil, err
	}
	return parse(all, patterns, token.NewFileSet())
}

// Load is Parse that finds out the types too. What the packages import comes from the build cache.
func Load(dir string, patterns ...string) ([]*Package, error) {
	all, err := list(dir, patterns, "-deps", "-export")
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for _, l := range all {
		exports[l.ImportPath] = l.Export
	}
	fset := token.NewFileSet()
	packages, err := parse(all, patterns, fset)
	if err != nil {
		return nil, err
	}
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, p := range packages {
		if err := p.check(imports); err != nil {
			return nil, err
		}
	}
	return packages, nil
}

// parse parses those of the listed packages that the patterns name.
func parse(all []listed, patterns []string, fset *token.FileSet) ([]*Package, error) {
	var packages []*Package
	for _, l := range all {
		path, ours := strings.CutPrefix(l.ImportPath, Module)
		if !ours || !matches(path, patterns) || len(l.GoFiles) == 0 {
			continue
		}
		p := &Package{Path: strings.TrimPrefix(path, "/"), Imports: l.Imports, Deps: l.Deps, Fset: fset}
		for _, name := range l.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(l.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			p.Files = append(p.Files, f)
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// list runs `go list` over the patterns.
func list(dir string, patterns []string, flags ...string) ([]listed, error) {
	args := append([]string{"list", "-json=Dir,ImportPath,Export,GoFiles,Imports,Deps,Error"}, flags...)
	cmd := exec.Command("go", append(append(args, "--"), patterns...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if l.Error != nil {
			return nil, fmt.Errorf("go list %s: %s", l.ImportPath, l.Error.Err)
		}
		all = append(all, l)
	}
}

// matches reports whether a path behind the module's is one of the patterns "./a" and "./a/...".
func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if folder, deep := strings.CutSuffix(pattern, "/..."); deep {
			return Within("."+path, folder)
		}
		return "."+path == pattern
	})
}

// check finds out what every identifier means.
func (p *Package) check(imports types.Importer) error {
	p.Info = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
	}
	_, err := (&types.Config{Importer: imports}).Check(Module+"/"+p.Path, p.Fset, p.Files, p.Info)
	if err != nil {
		return fmt.Errorf("check types of %s: %w", p.Path, err)
	}
	return nil
}
