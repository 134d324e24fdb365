package lint

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// Concurrency finds goroutines, selects and channels: their order is the scheduler's.
func Concurrency(p *Package) (found []Finding) {
	p.inspect(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, p.found(n.Pos(), "go statement"))
		case *ast.SelectStmt:
			found = append(found, p.found(n.Pos(), "select statement"))
		case *ast.SendStmt:
			found = append(found, p.found(n.Pos(), "send to a channel"))
		case *ast.ChanType:
			found = append(found, p.found(n.Pos(), "channel type"))
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				found = append(found, p.found(n.Pos(), "receive from a channel"))
			}
		case *ast.RangeStmt:
			if _, ok := p.under(n.X).(*types.Chan); ok {
				found = append(found, p.found(n.Pos(), "range over a channel"))
			}
		}
	})
	return found
}

// OrderFree begins the comment that says why a map's order cannot be seen.
const OrderFree = "//det:order-free:"

// MapRanges finds walks over maps without a reason why the order cannot be seen. The reason stands in a comment on the
// same line or on the line before.
func MapRanges(p *Package) (found []Finding) {
	for _, f := range p.Files {
		reasons := p.orderFree(f)
		ast.Inspect(f, func(n ast.Node) bool {
			if p.sorts(n) {
				return false
			}
			at, ok := p.walksMap(n)
			if line := p.Fset.Position(at).Line; ok && !reasons[line] && !reasons[line-1] {
				found = append(found, p.found(at, "walk over a map without %s reason", OrderFree))
			}
			return true
		})
	}
	return found
}

// orderFree returns the lines of a file that give a reason.
func (p *Package) orderFree(f *ast.File) map[int]bool {
	lines := map[int]bool{}
	for _, group := range f.Comments {
		for _, c := range group.List {
			if reason, ok := strings.CutPrefix(c.Text, OrderFree); ok && strings.TrimSpace(reason) != "" {
				lines[p.Fset.Position(c.Pos()).Line] = true
			}
		}
	}
	return lines
}

// walksMap reports whether a node visits the elements of a map: a range, or an iterator of package maps.
func (p *Package) walksMap(n ast.Node) (token.Pos, bool) {
	switch n := n.(type) {
	case *ast.RangeStmt:
		_, ok := p.under(n.X).(*types.Map)
		return n.Pos(), ok
	case *ast.SelectorExpr:
		return n.Pos(), p.calls(n, "maps", "All", "Keys", "Values")
	}
	return token.NoPos, false
}

// sorts reports whether a node is slices.Sorted(maps.Keys(m)), in whose result the order cannot be seen.
func (p *Package) sorts(n ast.Node) bool {
	outer, ok := n.(*ast.CallExpr)
	if !ok || len(outer.Args) != 1 || !p.calls(outer.Fun, "slices", "Sorted") {
		return false
	}
	inner, ok := outer.Args[0].(*ast.CallExpr)
	return ok && p.calls(inner.Fun, "maps", "Keys")
}

// calls reports whether an expression names one of a package's functions.
func (p *Package) calls(x ast.Expr, path string, names ...string) bool {
	s, ok := x.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	f, ok := p.Info.Uses[s.Sel].(*types.Func)
	return ok && f.Pkg() != nil && f.Pkg().Path() == path && slices.Contains(names, f.Name())
}

func (p *Package) under(x ast.Expr) types.Type {
	t := p.Info.Types[x].Type
	if t == nil {
		return nil
	}
	return t.Underlying()
}

// seeded are the functions of math/rand/v2 that make a generator out of what the caller gives.
var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewZipf"}

// ClockAndChance finds uses of the clock and of random numbers that nobody has seeded. A duration or a calendar date is
// not a clock.
func ClockAndChance(p *Package) (found []Finding) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	p.inspect(func(n ast.Node) {
		id, ok := n.(*ast.Ident)
		if !ok {
			return
		}
		f, ok := p.Info.Uses[id].(*types.Func)
		if !ok || f.Pkg() == nil || f.Signature().Recv() != nil {
			return
		}
		switch path := f.Pkg().Path(); {
		case path == "time" && slices.Contains(clock, f.Name()):
			found = append(found, p.found(n.Pos(), "time.%s: time comes with the command", f.Name()))
		case path == "math/rand", path == "math/rand/v2" && !slices.Contains(seeded, f.Name()), path == "crypto/rand":
			found = append(found, p.found(n.Pos(), "%s.%s: random numbers come from a seeded generator", path, f.Name()))
		}
	})
	return found
}

// Globals finds package-level variables that change after their declaration, and init functions. Two machines in one
// process must not see each other.
func Globals(p *Package) (found []Finding) {
	breach := func(x ast.Expr) {
		if v := p.global(x); v != nil {
			found = append(found, p.found(x.Pos(), "package-level variable %s is changed", v.Name()))
		}
	}
	p.inspect(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, x := range n.Lhs {
				breach(x)
			}
		case *ast.IncDecStmt:
			breach(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				breach(n.Key)
				breach(n.Value)
			}
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && slices.Contains([]string{"clear", "copy", "delete"}, id.Name) {
				breach(n.Args[0])
			}
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				found = append(found, p.found(n.Pos(), "init function"))
			}
		}
	})
	return found
}

// global returns the package-level variable that an expression is a part of, or nil.
func (p *Package) global(x ast.Expr) types.Object {
	for {
		switch e := x.(type) {
		case *ast.ParenExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.SliceExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.SelectorExpr:
			if v := p.variable(e.Sel); v != nil { // of another package
				return v
			}
			x = e.X
		case *ast.Ident:
			return p.variable(e)
		default:
			return nil
		}
	}
}

func (p *Package) variable(id *ast.Ident) types.Object {
	v, ok := p.Info.Uses[id].(*types.Var)
	if !ok || v.IsField() || v.Pkg() == nil || v.Parent() != v.Pkg().Scope() {
		return nil
	}
	return v
}
