package lint

import (
	"go/ast"
	"go/token"
	"strings"
)

// PackageDoc finds a package without a comment that says what it is for.
func PackageDoc(p *Package) []Finding {
	for _, f := range p.Files {
		if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
			return nil
		}
	}
	return []Finding{{p.Path, "package without a comment"}}
}

// ExportedDocs finds exported identifiers without a comment. A group's comment speaks for its members, and an
// interface's methods for the methods of the types in the same package that implement them.
func ExportedDocs(p *Package) (found []Finding) {
	promised := p.promised()
	for _, f := range p.Files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && d.Name.IsExported() && reachable(d) && !(d.Recv != nil && promised[d.Name.Name]) {
					found = append(found, p.found(d.Pos(), "%s has no comment", d.Name.Name))
				}
			case *ast.GenDecl:
				found = append(found, p.undocumented(d)...)
			}
		}
	}
	return found
}

// undocumented returns the exported names of a declaration that no comment speaks for.
func (p *Package) undocumented(d *ast.GenDecl) (found []Finding) {
	if d.Doc != nil || d.Tok == token.IMPORT {
		return nil
	}
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && s.Comment == nil {
				found = append(found, p.found(s.Pos(), "type %s has no comment", s.Name.Name))
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && s.Doc == nil && s.Comment == nil {
					found = append(found, p.found(name.Pos(), "%s has no comment", name.Name))
				}
			}
		}
	}
	return found
}

// reachable reports whether a function, or the type that it is a method of, can be named from outside.
func reachable(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if x, ok := t.(*ast.IndexExpr); ok { // of a generic type
		t = x.X
	}
	id, ok := t.(*ast.Ident)
	return !ok || id.IsExported()
}

// promised returns the names of the methods of a package's interfaces.
func (p *Package) promised() map[string]bool {
	names := map[string]bool{}
	p.inspect(func(n ast.Node) {
		if t, ok := n.(*ast.InterfaceType); ok {
			for _, m := range t.Methods.List {
				for _, name := range m.Names {
					names[name.Name] = true
				}
			}
		}
	})
	return names
}
