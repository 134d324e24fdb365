// Package lint checks the rules of this repository that no compiler knows: who may import whom, what the deterministic
// packages must not do, and what must be documented. Each rule is a function from a Package to findings; the tests run
// the rules over the repository, and each rule over a snippet that breaks it.
//
//	packages, err := lint.Load("../..", "./engine/...", "./wire")
//	for _, p := range packages {
//		findings = append(findings, lint.MapRanges(p)...)
//	}
package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// Module is the import path of this repository.
const Module = "github.com/kimberlitedb/kimberlite-go"

// Package is one package of the repository, without its tests.
type Package struct {
	Path    string   // relative to the module: "engine/seg"
	Imports []string // full import paths, ascending
	Deps    []string // full import paths of everything below, ascending
	Fset    *token.FileSet
	Files   []*ast.File
	Info    *types.Info
}

// Finding is one breach of a rule.
type Finding struct {
	Where string // file:line:column, or a package
	What  string
}

// String shows the finding on one line, as compilers do.
func (f Finding) String() string { return f.Where + ": " + f.What }

func (p *Package) found(at token.Pos, format string, args ...any) Finding {
	return Finding{p.Fset.Position(at).String(), fmt.Sprintf(format, args...)}
}

// Within reports whether a path relative to the module is a folder or below it.
func Within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// inspect visits every node of a package.
func (p *Package) inspect(visit func(ast.Node)) {
	for _, f := range p.Files {
		ast.Inspect(f, func(n ast.Node) bool {
			if n != nil {
				visit(n)
			}
			return true
		})
	}
}
